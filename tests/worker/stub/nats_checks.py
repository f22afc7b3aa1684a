"""Frames over NATS. OPTIONS has `workers`, how many there are."""
import os

from frames import decode_frame, decode_tensors, encode_frame, encode_tensors
from scale import OPTIONS, URL, inputs, scaled
from sockets import Nats

SUBJECT = "sentinel.v1.infer.scale"
# Ids over NATS are unlike those of all other clients.
NAME = os.urandom(8).hex()


def frame_of(request, tensors, **members):
    described, body = encode_tensors(tensors)
    return encode_frame({"type": "infer", "id": f"{NAME}-{request}", "model_name": "scale", "inputs": described} | members, body)


def answer_of(nats, reply):
    """The answer on this reply subject, joined where it comes in parts."""
    parts = {}
    while True:
        to, message = nats.receive()
        if to != reply:
            continue
        header, body = decode_frame(message)
        if header["type"] == "working":
            assert header["worker_id"] and not parts, header
        elif header["type"] == "part":
            parts[header["index"]] = body
            if len(parts) == header["count"]:
                return decode_frame(b"".join(parts[at] for at in range(header["count"])))
        else:
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
    while waiting:
        reply, message = nats.receive()
        header, body = decode_frame(message)
        if header["type"] == "working":
            assert reply in waiting, "working comes before the answer"
            continue
        assert header["type"] == "output", header
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
