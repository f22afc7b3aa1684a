"""A connection that said `hello`."""
from frames import decode_frame, decode_tensors, encode_frame, encode_tensors
from scale import URL
from sockets import Closed, WebSocket


class Session:
    """Also a context, which ends it."""

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
        """The next message of these types; `models` may come before it at any time."""
        while True:
            header, body = decode_frame(self.socket.receive())
            if "models" in header:
                self.states = {model["name"]: model["state"] for model in header["models"]}
            if header["type"] in types:
                return header, body
            assert header["type"] == "models", header

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
