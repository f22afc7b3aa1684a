"""Frames and tensors as docs/PROTOCOL.md has them, written from that text alone, with Python's standard library."""
import json
import struct
import zlib

CHECKSUM_FLAG = 1 << 31
FORMATS = {"BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
           "FP16": "e", "FP32": "f", "FP64": "d"}


def tensor(name, datatype, shape, data):
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def encode_tensors(tensors):
    """The JSON of binary tensors, and their bytes one after the other."""
    described, body = [], b""
    for each in tensors:
        if each["datatype"] == "BYTES":
            data = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in each["data"])
        else:
            data = struct.pack(f"<{len(each['data'])}{FORMATS[each['datatype']]}", *each["data"])
        described.append({key: each[key] for key in ("name", "datatype", "shape")} | {"parameters": {"binary_data_size": len(data)}})
        body += data
    return described, body


def decode_tensors(described, body):
    """Tensors by name, binary or not; all of `body` belongs to them."""
    tensors, offset = {}, 0
    for each in described:
        data = each.get("data")
        if data is None:
            size_bytes = each["parameters"]["binary_data_size"]
            piece = body[offset:offset + size_bytes]
            assert len(piece) == size_bytes, f"{each['name']}: {len(piece)} bytes, announced {size_bytes}"
            offset += size_bytes
            form = FORMATS[each["datatype"]]
            data = list(struct.unpack(f"<{size_bytes // struct.calcsize('<' + form)}{form}", piece))
        tensors[each["name"]] = tensor(each["name"], each["datatype"], each["shape"], data)
    assert offset == len(body), f"{len(body) - offset} bytes belong to no tensor"
    return tensors


def encode_frame(header, body=b"", *, checksum=True, align=True):
    text = json.dumps(header).encode()
    if align:
        text += b" " * (-(4 + len(text)) % 8)
    frame = struct.pack("<I", len(text) | (CHECKSUM_FLAG if checksum else 0)) + text + body
    return frame + (struct.pack("<I", zlib.crc32(frame)) if checksum else b"")


def decode_frame(frame):
    (word,) = struct.unpack_from("<I", frame)
    header_end = 4 + (word & ~CHECKSUM_FLAG)
    end = len(frame)
    if word & CHECKSUM_FLAG:
        end -= 4
        (checksum,) = struct.unpack_from("<I", frame, end)
        assert checksum == zlib.crc32(frame[:end]), "the checksum is wrong"
    assert header_end <= end, "the header is longer than the frame"
    return json.loads(frame[4:header_end]), frame[header_end:end]
