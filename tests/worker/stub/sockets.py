"""A client's side of a WebSocket (RFC 6455) and of NATS' text protocol, as far as the checks need them."""
import base64
import hashlib
import json
import os
import socket
import struct
from urllib.parse import urlsplit

TIMEOUT_S = 20


class Closed(Exception):
    def __init__(self, code):
        super().__init__(f"closed with {code}")
        self.code = code


class Refused(Exception):
    def __init__(self, status):
        super().__init__(f"HTTP {status} instead of a WebSocket")
        self.status = status


def connect(url):
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection, connection.makefile("rb")


class WebSocket:
    def __init__(self, url, protocols=("sentinel.v1",), headers=None):
        self.socket, self.stream = connect(url)
        key = base64.b64encode(os.urandom(16)).decode()
        parts = urlsplit(url)
        lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}",
                 "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Protocol: {', '.join(protocols)}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        status = int(self.stream.readline().split()[1])
        answer = {}
        while line := self.stream.readline().decode().strip():
            name, value = line.split(":", 1)
            answer[name.strip().lower()] = value.strip()
        if status != 101:
            self.abandon()
            raise Refused(status)
        accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
        assert answer["sec-websocket-accept"] == accept
        self.protocol = answer.get("sec-websocket-protocol")

    def send(self, message, *, pieces=1):
        """Sends a binary message as so many fragments."""
        size = -(-len(message) // pieces)
        for at in range(pieces):
            opcode = (2 if at == 0 else 0) | (0x80 if at == pieces - 1 else 0)
            self.send_frame(opcode, message[at * size:(at + 1) * size])

    def send_frame(self, opcode, payload):
        mask = os.urandom(4)
        length = len(payload)
        head = (struct.pack("!BB", opcode, 0x80 | length) if length < 126 else
                struct.pack("!BBH", opcode, 0x80 | 126, length) if length < 1 << 16 else struct.pack("!BBQ", opcode, 0x80 | 127, length))
        repeated = (mask * (length // 4 + 1))[:length]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")
        self.socket.sendall(head + mask + masked)

    def receive(self):
        """The next binary message; raises `Closed` with the code of the closing frame, or 1006 where there was none."""
        message = b""
        while True:
            opcode, payload = self._frame()
            if opcode & 15 in (0, 2):
                message += payload
                if opcode & 0x80:
                    return message
            elif opcode & 15 == 9:
                self.send_frame(0x8A, payload)
            elif opcode & 15 == 8:
                code = struct.unpack_from("!H", payload)[0] if payload else 1005
                self.abandon()
                raise Closed(code)

    def _frame(self):
        opcode, length = self._read("!BB")
        if length == 126:
            (length,) = self._read("!H")
        elif length == 127:
            (length,) = self._read("!Q")
        return opcode, self._exactly(length)

    def _read(self, form):
        return struct.unpack(form, self._exactly(struct.calcsize(form)))

    def _exactly(self, length):
        try:
            got = self.stream.read(length)
        except ConnectionError:
            got = b""
        if len(got) < length:
            self.abandon()
            raise Closed(1006)
        return got

    def abandon(self):
        """Ends the connection without a closing frame."""
        self.stream.close()
        self.socket.close()


class Nats:
    def __init__(self, url):
        self.socket, self.stream = connect(url)
        self.max_payload = json.loads(self.stream.readline().split(b" ", 1)[1])["max_payload"]
        self.socket.sendall(b'CONNECT {"verbose":false,"pedantic":false,"lang":"stub","version":"1","protocol":1}\r\n')
        self.inbox = f"_INBOX.{os.urandom(8).hex()}"
        self.socket.sendall(f"SUB {self.inbox}.* 1\r\n".encode())
        self.flush()

    def flush(self):
        """Waits until the server has done what it was told."""
        self.socket.sendall(b"PING\r\n")
        assert self.stream.readline().strip() == b"PONG"

    def publish(self, subject, payload, reply=None):
        answers = f" {self.inbox}.{reply}" if reply else ""
        self.socket.sendall(f"PUB {subject}{answers} {len(payload)}\r\n".encode() + payload + b"\r\n")

    def receive(self):
        """The next message to this client: the last part of its subject, and its bytes."""
        while True:
            words = self.stream.readline().decode().split()
            if words[0] == "PING":
                self.socket.sendall(b"PONG\r\n")
            elif words[0] == "MSG":
                payload = self.stream.read(int(words[-1]))
                self.stream.read(2)
                return words[1].rsplit(".", 1)[1], payload
            elif words[0] == "-ERR":
                raise AssertionError(" ".join(words))

    def close(self):
        self.stream.close()
        self.socket.close()
