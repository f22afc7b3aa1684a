"""What docs/PROTOCOL.md promises, checked against a worker by a client that was written from that text alone.

checks.py DOOR OPTIONS: DOOR is http, repository, websocket, uploads, access, or nats; OPTIONS is JSON with `url`, and what the door needs. The worker has a
model `scale`: y = x * scale, with x: FP32[-1, 2] and scale: FP32[]. Prints `ok NAME` or `not ok NAME: why` for each check.
"""
import base64
import hashlib
import http.client
import json
import sys
import traceback
from urllib.parse import urlsplit

from frames import decode_frame, decode_tensors, encode_frame, encode_tensors, tensor
from sockets import Closed, Nats, Refused, WebSocket

OPTIONS = json.loads(sys.argv[2])
URL = OPTIONS["url"]


def inputs(*rows, scale=3.0):
    flat = [value for row in rows for value in row]
    return [tensor("x", "FP32", [len(rows), 2], flat), tensor("scale", "FP32", [], [scale])]


def scaled(*rows, scale=3.0):
    return {"y": tensor("y", "FP32", [len(rows), 2], [value * scale for row in rows for value in row])}


# HTTP


def ask(method, path, body=None, headers=None):
    parts = urlsplit(URL)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def ask_json(method, path, content=None):
    response, body = ask(method, path, None if content is None else json.dumps(content), {"Content-Type": "application/json"})
    return response.status, json.loads(body) if body else None


def http_metadata_says_what_there_is():
    status, server = ask_json("GET", "/v2")
    assert status == 200 and server["name"] and server["version"], server
    assert "binary_tensor_data" in server["extensions"], server
    status, model = ask_json("GET", "/v2/models/scale")
    assert status == 200 and model["name"] == "scale" and model["versions"] == ["1"], model
    assert model["platform"] and model["parameters"]["provider"], model
    ports = {port["name"]: port for port in model["inputs"] + model["outputs"]}
    assert ports["x"] == {"name": "x", "datatype": "FP32", "shape": [-1, 2]}, ports
    assert set(ports) == {"x", "scale", "y"}, ports
    assert ask_json("GET", "/v2/models/scale/versions/1")[1] == model


def http_health_is_ready():
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/scale/ready", "/v2/models/scale/versions/1/ready"):
        assert ask("GET", path)[0].status == 200, path


def http_json_in_json_out():
    status, answer = ask_json("POST", "/v2/models/scale/infer", {"id": "a1", "inputs": inputs([1, 2], [3, 4])})
    assert status == 200, answer
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("a1", "scale", "1"), answer
    assert decode_tensors(answer["outputs"], b"") == scaled([1, 2], [3, 4])


def http_nested_data_is_row_major():
    nested = inputs([1, 2], [3, 4])
    nested[0]["data"] = [[1, 2], [3, 4]]
    status, answer = ask_json("POST", "/v2/models/scale/versions/1/infer", {"inputs": nested})
    assert status == 200 and decode_tensors(answer["outputs"], b"") == scaled([1, 2], [3, 4]), answer


def post_binary(header, body):
    text = json.dumps(header).encode()
    response, got = ask("POST", "/v2/models/scale/infer", text + body, {"Inference-Header-Content-Length": str(len(text)), "Content-Type": "application/octet-stream"})
    length = response.getheader("Inference-Header-Content-Length")
    split = len(got) if length is None else int(length)
    return response.status, json.loads(got[:split]), got[split:]


def http_binary_in_binary_out():
    described, body = encode_tensors(inputs([1, 2], [3, 4], [5, 6]))
    status, answer, rest = post_binary({"inputs": described, "parameters": {"binary_data_output": True}}, body)
    assert status == 200 and len(rest) == 24, answer
    assert decode_tensors(answer["outputs"], rest) == scaled([1, 2], [3, 4], [5, 6])


def http_an_outputs_own_parameter_decides_over_the_requests():
    described, body = encode_tensors(inputs([1, 2]))
    header = {"inputs": described, "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
    status, answer, rest = post_binary(header, body)
    assert status == 200 and len(rest) == 8, answer
    header = {"inputs": described, "outputs": [{"name": "y", "parameters": {"binary_data": False}}], "parameters": {"binary_data_output": True}}
    status, answer, rest = post_binary(header, body)
    assert status == 200 and rest == b"" and answer["outputs"][0]["data"] == [3, 6], answer


def http_binary_and_json_mix():
    (described, *_), body = encode_tensors(inputs([7, 8])[:1])
    status, answer, rest = post_binary({"inputs": [inputs([7, 8])[1], described]}, body)
    assert status == 200 and decode_tensors(answer["outputs"], rest) == scaled([7, 8]), answer


def expect_refusal(header, status, *codes, body=b""):
    got, answer, _ = post_binary(header, body)
    assert got == status and answer["code"] in codes and answer["error"], (got, answer)


def http_errors_have_their_status_and_code():
    described, body = encode_tensors(inputs([1, 2]))
    expect_refusal({"inputs": described}, 400, "INVALID_INPUT", "SHAPE_MISMATCH", body=body[:-1])
    expect_refusal({"inputs": described}, 400, "INVALID_INPUT", body=body + b"x")
    expect_refusal({"inputs": inputs([1, 2])[:1]}, 400, "INVALID_INPUT")
    expect_refusal({"inputs": inputs([1, 2]) + [tensor("z", "FP32", [1], [1])]}, 400, "INVALID_INPUT")
    expect_refusal({"inputs": [tensor("x", "FP64", [1, 2], [1, 2]), inputs()[1]]}, 400, "DTYPE_MISMATCH")
    expect_refusal({"inputs": [tensor("x", "FP32", [1, 3], [1, 2, 3]), inputs()[1]]}, 400, "SHAPE_MISMATCH")
    expect_refusal({"inputs": inputs([1, 2]), "outputs": [{"name": "nothing"}]}, 400, "INVALID_INPUT")
    expect_refusal({}, 400, "INVALID_INPUT")
    response, answer = ask("POST", "/v2/models/scale/infer", "{")
    assert response.status == 400 and json.loads(answer)["code"] == "INVALID_INPUT", answer
    for path in ("/v2/models/nothing", "/v2/models/nothing/ready", "/v2/models/scale/versions/9"):
        response, answer = ask("GET", path)
        assert response.status in (404, 503), (path, response.status)
    status, answer = ask_json("POST", "/v2/models/nothing/infer", {"inputs": inputs([1, 2])})
    assert status == 404 and answer["code"] == "NOT_FOUND", answer


def repository_lists_unloads_and_loads_models():
    index = ask_json("POST", "/v2/repository/index", {})[1]
    assert {(model["name"], model["version"], model["state"]) for model in index} >= {("scale", "1", "READY")}, index
    assert ask("POST", "/v2/repository/models/scale/unload", "{}")[0].status == 200
    assert ask("GET", "/v2/models/scale/ready")[0].status in (404, 503)
    assert ask("POST", "/v2/repository/models/scale/load", "{}")[0].status == 200
    assert ask("GET", "/v2/models/scale/ready")[0].status == 200
    http_json_in_json_out()
    assert ask("POST", "/v2/repository/models/nothing/load", "{}")[0].status == 404


def repository_statistics_and_metrics_count():
    def successes():
        (stats,) = ask_json("GET", "/v2/models/scale/stats")[1]["model_stats"]
        assert (stats["name"], stats["version"]) == ("scale", "1"), stats
        return stats["inference_stats"]["success"]["count"]
    before = successes()
    http_json_in_json_out()
    assert successes() == before + 1
    response, text = ask("GET", "/metrics")
    assert response.status == 200 and response.getheader("Content-Type").startswith("text/plain"), response.getheaders()
    assert b"# TYPE" in text and b"scale" in text


# WebSocket


class Session:
    """A connection that said `hello`; also a context, which ends it."""

    def __init__(self, **more):
        self.socket = WebSocket(URL, **more)
        assert self.socket.protocol == "sentinel.v1", self.socket.protocol
        self.hello, _ = self.receive("hello")

    def send(self, header, body=b"", **more):
        self.socket.send(encode_frame(header, body, **more))

    def infer(self, request, *tensors, **members):
        described, body = encode_tensors(tensors)
        self.send({"type": "infer", "id": request, "model_name": "scale", "inputs": described} | members, body)

    def receive(self, *types):
        header, body = decode_frame(self.socket.receive())
        assert not types or header["type"] in types, header
        return header, body

    def receive_outputs(self, request):
        header, body = self.receive("output")
        assert header["id"] == request, header
        return decode_tensors(header["outputs"], body)

    def is_refused(self, request, *codes):
        header, _ = self.receive("error")
        assert header["id"] == request and header["code"] in codes and header["error"], header

    def is_closed(self, code):
        try:
            while True:
                header, _ = self.receive("error")
                assert "id" not in header, header
        except Closed as closed:
            assert closed.code == code, closed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.abandon()


def websocket_hello_comes_first_and_is_whole():
    with Session() as session:
        hello = session.hello
        assert hello["protocol"] == 1 and hello["credits"] >= 1 and hello["heartbeat_ms"] > 0, hello
        assert all(isinstance(hello[name], str) and hello[name] for name in ("server", "version", "worker_id")), hello
        assert isinstance(hello["allows_upload"], bool), hello
        assert all(hello["limits"][name] > 0 for name in ("max_message_bytes", "max_header_bytes", "max_tensors", "max_elements")), hello
        (model,) = [model for model in hello["models"] if model["name"] == "scale"]
        assert (model["version"], model["state"]) == ("1", "READY") and len(bytes.fromhex(model["sha256"])) == 32, model
        assert {"name": "x", "datatype": "FP32", "shape": [-1, 2]} in model["inputs"], model


def websocket_an_answer_is_outputs_with_how_they_came_to_be():
    with Session() as session:
        described, body = encode_tensors(inputs([1, 2]))
        session.send({"type": "infer", "id": 1, "model_name": "scale", "model_version": "1", "inputs": described}, body)
        frame = session.socket.receive()
        header, rest = decode_frame(frame)
        assert header["type"] == "output" and header["id"] == 1, header
        assert (header["model_name"], header["model_version"]) == ("scale", "1"), header
        assert set(header["parameters"]) >= {"provider", "queue_ms", "compute_ms", "batch_size"}, header
        assert decode_tensors(header["outputs"], rest) == scaled([1, 2])
        assert int.from_bytes(frame[:4], "little") >> 31 == 1, "the worker should send the checksum"
        assert (int.from_bytes(frame[:4], "little") + 4) % 8 == 0, "the worker should align the tensors"


def websocket_frames_without_checksum_or_alignment_are_read():
    with Session() as session:
        described, body = encode_tensors(inputs([5, 6]))
        for request, (checksum, align) in enumerate([(True, True), (True, False), (False, True), (False, False)]):
            session.send({"type": "infer", "id": request, "model_name": "scale", "inputs": described}, body, checksum=checksum, align=align)
            assert session.receive_outputs(request) == scaled([5, 6])


def websocket_tensors_of_a_frame_may_be_json():
    with Session() as session:
        session.send({"type": "infer", "id": 1, "model_name": "scale", "inputs": inputs([5, 6])})
        assert session.receive_outputs(1) == scaled([5, 6])


def websocket_a_message_may_come_in_fragments():
    with Session() as session:
        described, body = encode_tensors(inputs(*[[at, -at] for at in range(200)]))
        frame = encode_frame({"type": "infer", "id": 1, "model_name": "scale", "inputs": described}, body)
        session.socket.send(frame, pieces=7)
        assert session.receive_outputs(1) == scaled(*[[at, -at] for at in range(200)])


def websocket_unknown_members_are_ignored():
    with Session() as session:
        session.infer(1, *inputs([1, 2]), tomorrow={"deep": [1]})
        assert session.receive_outputs(1) == scaled([1, 2])


def websocket_every_request_has_one_answer_and_it_is_its_own():
    with Session() as session:
        waiting = {}
        count = min(session.hello["credits"], 32)
        for request in range(count):
            waiting[request] = scaled([request, 1], scale=request % 3)
            session.infer(request, *inputs([request, 1], scale=request % 3))
        for _ in range(count):
            header, body = session.receive("output")
            assert decode_tensors(header["outputs"], body) == waiting.pop(header["id"])
        assert waiting == {}


def websocket_more_requests_than_credits_are_answered_too():
    with Session() as session:
        count = 3 * session.hello["credits"]
        waiting = set(range(count))
        for request in waiting:
            session.infer(request, *inputs([request, 1]))
        for _ in range(count):
            header, body = session.receive("output", "error")
            waiting.remove(header["id"])
            if header["type"] == "error":
                assert header["code"] == "QUEUE_FULL", header
            else:
                assert decode_tensors(header["outputs"], body) == scaled([header["id"], 1])
        session.infer("after", *inputs([1, 2]))
        assert session.receive_outputs("after") == scaled([1, 2])


def websocket_a_ping_is_answered_with_its_id():
    with Session() as session:
        session.send({"type": "ping", "id": 12})
        header, _ = session.receive("pong")
        assert header["id"] == 12 and header["queue_depth"] >= 0, header


def websocket_a_cancelled_request_gives_its_credit_back():
    with Session() as session:
        credits = session.hello["credits"]
        for request in range(4 * credits):
            session.infer(request, *inputs([1, 2]))
            session.send({"type": "cancel", "id": request})
        # One that was answered before it was cancelled may still come; a refusal for lack of credits may not.
        session.infer("last", *inputs([3, 4]))
        while True:
            header, body = session.receive("output")
            if header["id"] == "last":
                assert decode_tensors(header["outputs"], body) == scaled([3, 4])
                return


def websocket_wrong_requests_are_refused_and_the_connection_lives():
    with Session() as session:
        x, scale = inputs([1, 2])
        session.infer("no model", *inputs([1, 2]), model_name="nothing")
        session.is_refused("no model", "NOT_FOUND")
        session.infer("no version", *inputs([1, 2]), model_version="77")
        session.is_refused("no version", "NOT_FOUND")
        session.infer("missing", x)
        session.is_refused("missing", "INVALID_INPUT")
        session.infer("unknown", x, scale, tensor("z", "FP32", [1], [1]))
        session.is_refused("unknown", "INVALID_INPUT")
        session.infer("type", tensor("x", "FP64", [1, 2], [1, 2]), scale)
        session.is_refused("type", "DTYPE_MISMATCH")
        session.infer("shape", tensor("x", "FP32", [1, 3], [1, 2, 3]), scale)
        session.is_refused("shape", "SHAPE_MISMATCH")
        session.infer("output", x, scale, outputs=[{"name": "nothing"}])
        session.is_refused("output", "INVALID_INPUT")
        session.infer("right", x, scale, outputs=[{"name": "y"}])
        assert session.receive_outputs("right") == scaled([1, 2])


def websocket_what_is_no_frame_breaks_the_connection():
    good = encode_frame({"type": "ping", "id": 1})
    wrong = {
        "unknown type": encode_frame({"type": "dance", "id": 1}),
        "a worker's type": encode_frame({"type": "hello"}),
        "no type": encode_frame({"id": 1}),
        "wrong checksum": good[:-1] + bytes([good[-1] ^ 1]),
        "not JSON": (5).to_bytes(4, "little") + b"{nope",
        "a list": (2).to_bytes(4, "little") + b"[]",
        "header beyond the frame": (99).to_bytes(4, "little") + b"{}",
        "three bytes": b"\0\0\0",
        "nothing": b"",
    }
    for name, frame in wrong.items():
        with Session() as session:
            session.socket.send(frame)
            try:
                session.is_closed(1002)
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from error


def websocket_a_message_beyond_the_limits_closes_with_1009():
    with Session() as session:
        most = session.hello["limits"]["max_message_bytes"]
        # Its length is announced; none of its bytes need to be there.
        session.socket.socket.sendall(b"\x82\xff" + (most + 1).to_bytes(8, "big") + b"\0\0\0\0")
        session.is_closed(1009)


# Uploads: OPTIONS has `upload`, the path of a model that the worker does not have


def uploads_resume_on_another_connection_and_are_then_there():
    with open(OPTIONS["upload"], "rb") as file:
        content = file.read()
    announced = {"type": "upload", "model_name": "uploaded", "model_version": "1", "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    half = len(content) // 2
    with Session() as session:
        session.send(announced | {"id": 1})
        assert session.receive("upload_state")[0] == {"type": "upload_state", "id": 1, "offset": 0}
        session.send({"type": "upload_chunk", "id": 1, "offset": 0}, content[:half])
        assert session.receive("upload_state")[0]["offset"] == half
    with Session() as session:
        session.send(announced | {"id": 2})
        assert session.receive("upload_state")[0]["offset"] == half
        session.send({"type": "upload_chunk", "id": 2, "offset": half}, content[half:])
        heard = {header["type"]: header for header in (session.receive("models", "uploaded")[0] for _ in range(2))}
        model = heard["uploaded"]["model"]
        assert heard["uploaded"]["id"] == 2 and (model["name"], model["version"], model["state"]) == ("uploaded", "1", "READY"), heard
        assert "uploaded" in {each["name"] for each in heard["models"]["models"]}, heard
        session.infer(3, *inputs([1, 2]), model_name="uploaded")
        assert session.receive_outputs(3) == scaled([1, 2])
        session.send(announced | {"id": 4})
        assert session.receive("uploaded")[0]["id"] == 4


def uploads_with_other_bytes_than_announced_are_thrown_away():
    content = b"these are other bytes than the announced ones"
    announced = {"type": "upload", "model_name": "wrong", "model_version": "1", "sha256": hashlib.sha256(b"x").hexdigest(), "size_bytes": len(content)}
    with Session() as session:
        for request in (1, 2):
            session.send(announced | {"id": request})
            assert session.receive("upload_state")[0]["offset"] == 0
            session.send({"type": "upload_chunk", "id": request, "offset": 0}, content)
            session.is_refused(request, "INVALID_INPUT")


# Access: OPTIONS has `token`, `origin` that is allowed


def encoded_token(token):
    return "sentinel.token." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def access_a_token_goes_into_the_header_or_the_subprotocol():
    with Session(headers={"Authorization": f"Bearer {OPTIONS['token']}"}):
        pass
    with Session(protocols=("sentinel.v1", encoded_token(OPTIONS["token"]))):
        pass
    with Session(protocols=("sentinel.v1", encoded_token(OPTIONS["token"])), headers={"Origin": OPTIONS["origin"]}):
        pass


def access_without_the_token_it_is_401_or_for_a_page_4401():
    for protocols in (("sentinel.v1",), ("sentinel.v1", encoded_token("wrong"))):
        try:
            WebSocket(URL, protocols)
            raise AssertionError("it was opened")
        except Refused as refused:
            assert refused.status == 401, refused
        page = WebSocket(URL, protocols, {"Origin": OPTIONS["origin"]})
        try:
            while True:
                header, _ = decode_frame(page.receive())
                assert header["type"] == "error" and header["code"] == "UNAUTHORIZED", header
        except Closed as closed:
            assert closed.code == 4401, closed


def access_another_origin_is_4403():
    page = WebSocket(URL, ("sentinel.v1", encoded_token(OPTIONS["token"])), {"Origin": "https://elsewhere.example"})
    try:
        while True:
            assert decode_frame(page.receive())[0]["type"] == "error"
    except Closed as closed:
        assert closed.code == 4403, closed


# NATS: OPTIONS has `workers`, how many there are

SUBJECT = "sentinel.v1.infer.scale"
NAME = OPTIONS.get("prefix", "stub")


def frame_of(request, tensors, **members):
    described, body = encode_tensors(tensors)
    return encode_frame({"type": "infer", "id": f"{NAME}-{request}", "model_name": "scale", "inputs": described} | members, body)


def answer_of(nats, reply):
    """The answer on this reply subject, joined where it comes in parts; `working` must come first."""
    working, parts = False, {}
    while True:
        to, message = nats.receive()
        if to != reply:
            continue
        header, body = decode_frame(message)
        if header["type"] == "working":
            assert header["worker_id"], header
            working = True
        elif header["type"] == "part":
            parts[header["index"]] = body
            if len(parts) == header["count"]:
                return decode_frame(b"".join(parts[at] for at in range(header["count"])))
        else:
            assert working, f"{header['type']} came without working"
            return header, body


def nats_a_hello_comes_from_every_worker():
    nats = Nats(URL)
    nats.publish("sentinel.v1.hello", b"", "hello")
    workers = set()
    for _ in range(OPTIONS["workers"]):
        header, _ = decode_frame(nats.receive()[1])
        assert header["type"] == "hello" and header["protocol"] == 1, header
        workers.add(header["worker_id"])
    assert len(workers) == OPTIONS["workers"]
    nats.close()


def nats_a_request_is_answered_on_its_reply_subject():
    nats = Nats(URL)
    for request in range(20):
        nats.publish(SUBJECT, frame_of(request, inputs([request, 2])), f"r{request}")
    waiting = {f"r{request}": request for request in range(20)}
    working = set()
    while waiting:
        reply, message = nats.receive()
        header, body = decode_frame(message)
        if header["type"] == "working":
            working.add(reply)
            continue
        assert header["type"] == "output" and reply in working, header
        request = waiting.pop(reply)
        assert header["id"] == f"{NAME}-{request}", header
        assert decode_tensors(header["outputs"], body) == scaled([request, 2])
    nats.close()


def nats_a_wrong_request_is_answered_with_an_error():
    nats = Nats(URL)
    nats.publish(SUBJECT, frame_of("wrong", inputs([1, 2])[:1]), "wrong")
    header, _ = answer_of(nats, "wrong")
    assert header["type"] == "error" and header["code"] == "INVALID_INPUT", header
    nats.close()


def nats_a_request_beyond_the_payload_goes_and_comes_in_parts():
    nats = Nats(URL)
    rows = [[at % 1000, 1] for at in range(nats.max_payload // 8 + 1000)]
    frame = frame_of("large", inputs(*rows))
    assert len(frame) > nats.max_payload
    identity = f"{NAME}-large"
    nats.publish(SUBJECT, encode_frame({"type": "open", "id": identity, "size_bytes": len(frame)}), "large")
    header, _ = decode_frame(nats.receive()[1])
    assert header["type"] == "opened" and header["id"] == identity, header
    size = header["part_bytes"]
    parts = [frame[at:at + size] for at in range(0, len(frame), size)]
    for index, part in enumerate(parts):
        nats.publish(header["subject"], encode_frame({"type": "part", "id": identity, "index": index, "count": len(parts)}, part), "large")
    header, body = answer_of(nats, "large")
    assert header["type"] == "output" and header["id"] == identity, header
    assert decode_tensors(header["outputs"], body) == scaled(*rows)
    nats.close()


def nats_a_size_beyond_every_limit_is_refused():
    nats = Nats(URL)
    nats.publish(SUBJECT, encode_frame({"type": "open", "id": f"{NAME}-huge", "size_bytes": 1 << 50}), "huge")
    header, _ = decode_frame(nats.receive()[1])
    assert header["type"] == "error" and header["code"] == "TOO_LARGE", header
    nats.close()


def main():
    checks = [(name, check) for name, check in globals().items() if callable(check) and name.startswith(f"{sys.argv[1]}_")]
    failed = False
    for name, check in checks:
        try:
            check()
            print(f"ok {name}", flush=True)
        except Exception as error:
            failed = True
            print(f"not ok {name}: {error!r} {traceback.format_exc().strip()}".replace("\n", " | "), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
