"""What docs/PROTOCOL.md promises, checked against a worker by a client that was written from that text alone.

checks.py DOOR OPTIONS: DOOR is http, repository, websocket, uploads, access, or nats; OPTIONS is JSON with `url` and what the door's checks need.
Prints `ok NAME` or `not ok NAME: why` for each check.
"""
import sys
import traceback

import access_checks
import http_checks
import nats_checks
import websocket_checks

MODULES = {"http": http_checks, "repository": http_checks, "websocket": websocket_checks, "uploads": access_checks, "access": access_checks, "nats": nats_checks}


def main():
    door = sys.argv[1]
    failed = False
    for name, check in vars(MODULES[door]).items():
        if not name.startswith(f"{door}_"):
            continue
        try:
            check()
            print(f"ok {name}", flush=True)
        except Exception as error:
            failed = True
            print(f"not ok {name}: {error!r} {traceback.format_exc().strip()}".replace("\n", " | "), flush=True)
    sys.exit(failed)


main()
