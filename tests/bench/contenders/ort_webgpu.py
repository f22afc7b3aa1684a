"""usage: ort_webgpu.py CASE-FOLDER

PyPI's onnxruntime-webgpu as a program of contenders/native.mjs.
"""

import json
import sys
import time
from pathlib import Path

import numpy
import onnxruntime

DTYPES = {"bool": numpy.bool_}


def say(answer: dict) -> None:
    print(json.dumps(answer), flush=True)


def main(folder: Path) -> None:
    description = json.loads((folder / "case.json").read_text())
    data = (folder / "data.bin").read_bytes()

    def array(entry: dict) -> numpy.ndarray:
        dtype = numpy.dtype(DTYPES.get(entry["type"], entry["type"]))
        return numpy.frombuffer(data, dtype, entry["length"], entry["offset"]).reshape(entry["dims"])

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    providers = ["WebGpuExecutionProvider", "CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=providers)
    feeds = {entry["name"]: array(entry) for entry in description["inputs"]}
    names = [entry["name"] for entry in description["outputs"]]

    def wrong(outputs: list) -> str | None:
        for got, entry in zip(outputs, description["outputs"]):
            want, tolerance = array(entry), entry["tolerance"]
            if got.dtype != want.dtype or got.shape != want.shape:
                return f"{entry['name']}: got {got.dtype}{list(got.shape)}, want {want.dtype}{list(want.shape)}"
            if not numpy.allclose(got, want, rtol=tolerance["rtol"], atol=tolerance["atol"], equal_nan=True):
                return f"{entry['name']}: values differ"
        return None

    why = wrong(session.run(names, feeds))
    say({} if why is None else {"wrong": why})
    for _ in sys.stdin:
        begin = time.perf_counter()
        session.run(names, feeds)
        say({"ms": (time.perf_counter() - begin) * 1000})


try:
    main(Path(sys.argv[1]))
except Exception as error:  # Whatever it is, the bench shows it as this contender's row.
    say({"error": str(error).splitlines()[0]})
