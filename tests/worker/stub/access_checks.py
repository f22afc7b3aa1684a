"""Who gets in, and who may bring models. `uploads` wants OPTIONS with `upload`, the path of a model that the worker does not have; `access` wants
`token`, and `origin`, one that is allowed.
"""
import base64
import hashlib

from frames import decode_frame
from scale import OPTIONS, URL, inputs, scaled
from session import Session
from sockets import Closed, Refused, WebSocket


def uploads_resume_on_another_connection_and_are_then_there():
    with open(OPTIONS["upload"], "rb") as file:
        content = file.read()
    announced = {"type": "upload", "model_name": "uploaded", "model_version": "1", "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    half = len(content) // 2
    with Session() as session:
        session.send(announced | {"id": "1"})
        assert session.receive("upload_state")[0] == {"type": "upload_state", "id": "1", "offset": 0}
        session.send({"type": "upload_chunk", "id": "1", "offset": 0}, content[:half])
        assert session.receive("upload_state")[0]["offset"] == half
    with Session() as session:
        session.send(announced | {"id": "2"})
        assert session.receive("upload_state")[0]["offset"] == half
        session.send({"type": "upload_chunk", "id": "2", "offset": half}, content[half:])
        header, _ = session.receive("uploaded")
        model = header["model"]
        assert header["id"] == "2" and (model["name"], model["version"], model["state"]) == ("uploaded", "1", "READY"), header
        while session.states.get("uploaded") != "READY":
            session.receive("models")
        session.infer("3", *inputs([1, 2]), model_name="uploaded")
        assert session.receive_outputs("3") == scaled([1, 2])
        session.send(announced | {"id": "4"})
        assert session.receive("uploaded")[0]["id"] == "4"


def uploads_with_other_bytes_than_announced_are_thrown_away():
    content = b"these are other bytes than the announced ones"
    announced = {"type": "upload", "model_name": "wrong", "model_version": "1", "sha256": hashlib.sha256(b"x").hexdigest(), "size_bytes": len(content)}
    with Session() as session:
        for request in ("1", "2"):
            session.send(announced | {"id": request})
            assert session.receive("upload_state")[0]["offset"] == 0
            session.send({"type": "upload_chunk", "id": request, "offset": 0}, content)
            session.is_refused(request, "INVALID_INPUT")


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
