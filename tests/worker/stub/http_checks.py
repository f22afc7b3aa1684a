"""The Open Inference Protocol over HTTP."""
import http.client
import json
from urllib.parse import urlsplit

from frames import decode_tensors, encode_tensors, tensor
from scale import URL, inputs, scaled


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
