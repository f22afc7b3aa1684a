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


def told(error):
    """In one line: what, and on which lines of these files."""
    lines = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    return f"{type(error).__name__}: {str(error)[:400]!r} in {' '.join(lines)}"


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
            print(f"not ok {name}: {told(error)}", flush=True)
    sys.exit(failed)


main()
