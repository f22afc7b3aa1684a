"""Triton's own client against a worker: triton.py OPTIONS, JSON with `url` (host and port), `fixtures` (tests/fixtures), and `types`, the
datatypes for which the worker has a model `same_DATATYPE` that gives its input `x` back as `y`. Prints `ok NAME` or `not ok NAME: why` for each check.

The worker has the models digits, token_encoder and mlp_dyn_batch of the fixtures, `scale`: y = x * scale, with x: FP32[-1, 2], scale: FP32[],
and `unsupported`, which no provider here can run.
"""
import json
import os
import sys
import traceback

import numpy
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, triton_to_np_dtype

OPTIONS = json.loads(sys.argv[1])
TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}
FIXTURES = {"digits": ("digits/digits", ["image"], ["logits"]), "token_encoder": ("models/token_encoder", ["ids", "mask"], ["hidden", "pooled"]),
            "mlp_dyn_batch": ("models/mlp_dyn_batch", ["x"], ["probs"])}


def input_of(name, array, binary=True):
    given = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def fixture(model):
    path, inputs, outputs = FIXTURES[model]
    arrays = numpy.load(os.path.join(OPTIONS["fixtures"], path + ".npz"))
    return ({name: arrays[f"in_{at}"] for at, name in enumerate(inputs)}, {name: arrays[f"out_{at}"] for at, name in enumerate(outputs)})


def scale_inputs(rows=1, scale=2.0):
    return [input_of("x", numpy.arange(2 * rows, dtype=numpy.float32).reshape(rows, 2)), input_of("scale", numpy.array(scale, numpy.float32))]


def refused(status, call, *arguments, words="", **named):
    """The call fails with this status and a message that has these words."""
    try:
        call(*arguments, **named)
    except InferenceServerException as error:
        assert error.status() == str(status), f"{error.status()}: {error.message()}"
        assert words in error.message(), error.message()
        return
    raise AssertionError("it was not refused")


def the_server_is_live_and_ready(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("digits") and client.is_model_ready("digits", "1")
    assert not client.is_model_ready("nothing")


def metadata_names_the_server_and_its_models(client):
    server = client.get_server_metadata()
    assert server["name"] and server["version"] and "binary_tensor_data" in server["extensions"], server
    model = client.get_model_metadata("digits")
    assert model["name"] == "digits" and model["versions"] == ["1"] and model["platform"], model
    assert model["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 28, 28]}], model
    assert model["outputs"][0]["name"] == "logits" and model["outputs"][0]["shape"][-1] in (10, -1), model
    refused(404, client.get_model_metadata, "nothing", words="nothing")
    config = client.get_model_config("digits")
    assert config["name"] == "digits", config


def outputs_of_fixtures_are_those_of_their_reference(client):
    for model in FIXTURES:
        inputs, expected = fixture(model)
        for binary_in, binary_out in [(True, True), (True, False), (False, True), (False, False)]:
            wanted = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in expected]
            answer = client.infer(model, [input_of(name, array, binary_in) for name, array in inputs.items()], outputs=wanted, request_id="r7")
            assert answer.get_response()["id"] == "r7" and answer.get_response()["model_name"] == model
            for name, array in expected.items():
                got = answer.as_numpy(name)
                assert got.dtype == array.dtype and got.shape == array.shape, (model, name, got.dtype, got.shape)
                numpy.testing.assert_allclose(got, array, **TOLERANCE, err_msg=f"{model} {name} binary {binary_in} {binary_out}")


def without_a_list_of_outputs_all_of_them_come(client):
    inputs, expected = fixture("token_encoder")
    answer = client.infer("token_encoder", [input_of(name, array) for name, array in inputs.items()], model_version="1")
    for name, array in expected.items():
        numpy.testing.assert_allclose(answer.as_numpy(name), array, **TOLERANCE)


def every_type_comes_back_as_it_went(client):
    for datatype in OPTIONS["types"]:
        dtype = numpy.dtype(triton_to_np_dtype(datatype))
        if dtype == bool:
            array = numpy.array([[True, False, True]])
        elif dtype.kind == "f":
            array = numpy.array([[0.5, -1.25, 65504]], dtype)
        else:
            # The worker's CPU computes in 32 bits.
            least, most = max(numpy.iinfo(dtype).min, -2**31), min(numpy.iinfo(dtype).max, 2**31 - 1)
            array = numpy.array([[least, 1, most]], dtype)
        # This client has no half precision in JSON.
        for binary in (True,) if datatype == "FP16" else (True, False):
            wanted = [triton.InferRequestedOutput("y", binary_data=binary)]
            got = client.infer(f"same_{datatype}", [input_of("x", array, binary)], outputs=wanted).as_numpy("y")
            assert got.dtype == array.dtype, (datatype, got.dtype)
            numpy.testing.assert_array_equal(got, array, err_msg=f"{datatype} binary {binary}")


def wrong_requests_are_refused_with_their_reason(client):
    x, scale = scale_inputs()
    refused(400, client.infer, "scale", [x], words="scale")
    refused(400, client.infer, "scale", [input_of("x", numpy.zeros((1, 3), numpy.float32)), scale], words="x")
    refused(400, client.infer, "scale", [input_of("x", numpy.zeros((1, 2), numpy.float64)), scale], words="x")
    refused(400, client.infer, "scale", [x, scale], outputs=[triton.InferRequestedOutput("nothing")], words="nothing")
    refused(404, client.infer, "nothing", [x, scale], words="nothing")
    refused(404, client.infer, "scale", [x, scale], model_version="7", words="7")
    refused(400, client.infer, "scale", [x, scale], sequence_id=5)
    assert client.infer("scale", [x, scale]).as_numpy("y").tolist() == [[0, 2]]


def requests_overlap(client):
    requests = [client.async_infer("scale", scale_inputs(rows=at + 1, scale=float(at))) for at in range(24)]
    for at, request in enumerate(requests):
        expected = numpy.arange(2 * (at + 1), dtype=numpy.float32).reshape(at + 1, 2) * at
        numpy.testing.assert_array_equal(request.get_result().as_numpy("y"), expected)


def compressed_bodies_are_read_or_refused(client):
    for algorithm in ("gzip", "deflate"):
        try:
            answer = client.infer("scale", scale_inputs(rows=2), request_compression_algorithm=algorithm, response_compression_algorithm=algorithm)
            assert answer.as_numpy("y").tolist() == [[0, 2], [4, 6]]
        except InferenceServerException as error:
            assert error.status() == "415", error


def statistics_count_successes_and_failures(client):
    def read():
        (stats,) = client.get_inference_statistics("scale")["model_stats"]
        return stats
    before = read()
    for _ in range(3):
        client.infer("scale", scale_inputs(rows=5))
    after = read()
    assert (after["name"], after["version"]) == ("scale", "1"), after
    assert after["inference_stats"]["success"]["count"] == before["inference_stats"]["success"]["count"] + 3
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]
    assert before["execution_count"] < after["execution_count"] <= after["inference_count"], after
    everything = client.get_inference_statistics()["model_stats"]
    assert {"scale", "digits"} <= {model["name"] for model in everything}


def the_repository_is_listed_unloaded_and_loaded(client):
    def states():
        return {(model["name"], model["version"]): model["state"] for model in client.get_model_repository_index()}
    assert states()["scale", "1"] == "READY"
    client.unload_model("scale")
    assert not client.is_model_ready("scale")
    assert states().get(("scale", "1")) != "READY"
    refused(503, client.infer, "scale", scale_inputs(), words="scale")
    client.load_model("scale")
    assert client.is_model_ready("scale") and states()["scale", "1"] == "READY"
    assert client.infer("scale", scale_inputs()).as_numpy("y").tolist() == [[0, 2]]
    refused(404, client.load_model, "nothing", words="nothing")


def a_model_that_cannot_run_is_listed_with_its_reason(client):
    (model,) = [model for model in client.get_model_repository_index() if model["name"] == "unsupported"]
    assert model["state"] == "UNAVAILABLE" and model["reason"], model
    assert not client.is_model_ready("unsupported")
    assert client.is_server_ready()


def a_timeout_of_the_request_is_accepted(client):
    assert client.infer("scale", scale_inputs(), timeout=5_000_000, priority=1).as_numpy("y").tolist() == [[0, 2]]


CHECKS = [the_server_is_live_and_ready, metadata_names_the_server_and_its_models, outputs_of_fixtures_are_those_of_their_reference,
          without_a_list_of_outputs_all_of_them_come, every_type_comes_back_as_it_went, wrong_requests_are_refused_with_their_reason, requests_overlap,
          compressed_bodies_are_read_or_refused, statistics_count_successes_and_failures, the_repository_is_listed_unloaded_and_loaded,
          a_model_that_cannot_run_is_listed_with_its_reason, a_timeout_of_the_request_is_accepted]


def told(error):
    """In one line: what, and on which lines of these files."""
    lines = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    return f"{type(error).__name__}: {str(error)[:400]!r} in {' '.join(lines)}"


def main():
    failed = False
    client = triton.InferenceServerClient(OPTIONS["url"], concurrency=8, network_timeout=30)
    for check in CHECKS:
        try:
            check(client)
            print(f"ok {check.__name__}", flush=True)
        except Exception as error:
            failed = True
            print(f"not ok {check.__name__}: {told(error)}", flush=True)
    client.close()
    sys.exit(failed)


main()
