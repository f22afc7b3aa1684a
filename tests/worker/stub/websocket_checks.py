"""Frames over WebSocket."""
from frames import decode_frame, decode_tensors, encode_frame, encode_tensors, tensor
from scale import inputs, scaled
from session import Session


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
        session.send({"type": "infer", "id": "1", "model_name": "scale", "model_version": "1", "inputs": described}, body)
        frame = session.socket.receive()
        header, rest = decode_frame(frame)
        assert header["type"] == "output" and header["id"] == "1", header
        assert (header["model_name"], header["model_version"]) == ("scale", "1"), header
        assert set(header["parameters"]) >= {"provider", "queue_ms", "compute_ms", "batch_size"}, header
        assert decode_tensors(header["outputs"], rest) == scaled([1, 2])
        assert int.from_bytes(frame[:4], "little") >> 31 == 1, "the worker should send the checksum"
        assert (int.from_bytes(frame[:4], "little") + 4) % 8 == 0, "the worker should align the tensors"


def websocket_frames_without_checksum_or_alignment_are_read():
    with Session() as session:
        described, body = encode_tensors(inputs([5, 6]))
        for checksum, align in [(True, True), (True, False), (False, True), (False, False)]:
            request = f"{checksum} {align}"
            session.send({"type": "infer", "id": request, "model_name": "scale", "inputs": described}, body, checksum=checksum, align=align)
            assert session.receive_outputs(request) == scaled([5, 6])


def websocket_tensors_of_a_frame_may_be_json():
    with Session() as session:
        session.send({"type": "infer", "id": "1", "model_name": "scale", "inputs": inputs([5, 6])})
        assert session.receive_outputs("1") == scaled([5, 6])


def websocket_a_message_may_come_in_fragments():
    with Session() as session:
        described, body = encode_tensors(inputs(*[[at, -at] for at in range(200)]))
        frame = encode_frame({"type": "infer", "id": "1", "model_name": "scale", "inputs": described}, body)
        session.socket.send(frame, pieces=7)
        assert session.receive_outputs("1") == scaled(*[[at, -at] for at in range(200)])


def websocket_unknown_members_are_ignored():
    with Session() as session:
        session.infer("1", *inputs([1, 2]), tomorrow={"deep": [1]})
        assert session.receive_outputs("1") == scaled([1, 2])


def websocket_every_request_has_one_answer_and_it_is_its_own():
    with Session() as session:
        waiting = {}
        count = min(session.hello["credits"], 32)
        for at in range(count):
            waiting[f"r{at}"] = scaled([at, 1], scale=at % 3)
            session.infer(f"r{at}", *inputs([at, 1], scale=at % 3))
        for _ in range(count):
            header, body = session.receive("output")
            assert decode_tensors(header["outputs"], body) == waiting.pop(header["id"])
        assert waiting == {}


def websocket_more_requests_than_credits_are_answered_too():
    with Session() as session:
        count = 3 * session.hello["credits"]
        waiting = {f"r{at}": scaled([at, 1]) for at in range(count)}
        for at in range(count):
            session.infer(f"r{at}", *inputs([at, 1]))
        for _ in range(count):
            header, body = session.receive("output", "error")
            expected = waiting.pop(header["id"])
            if header["type"] == "error":
                assert header["code"] == "QUEUE_FULL", header
            else:
                assert decode_tensors(header["outputs"], body) == expected
        session.infer("after", *inputs([1, 2]))
        assert session.receive_outputs("after") == scaled([1, 2])


def websocket_a_ping_is_answered_with_its_id():
    with Session() as session:
        session.send({"type": "ping", "id": "p12"})
        header, _ = session.receive("pong")
        assert header["id"] == "p12" and header["queue_depth"] >= 0, header


def websocket_a_cancelled_request_gives_its_credit_back():
    with Session() as session:
        credits = session.hello["credits"]
        for at in range(4 * credits):
            session.infer(f"r{at}", *inputs([1, 2]))
            session.send({"type": "cancel", "id": f"r{at}"})
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
    good = encode_frame({"type": "ping", "id": "1"})
    wrong = {
        "unknown type": encode_frame({"type": "dance", "id": "1"}),
        "a worker's type": encode_frame({"type": "hello"}),
        "no type": encode_frame({"id": "1"}),
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
