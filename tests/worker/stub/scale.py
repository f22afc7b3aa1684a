"""The model of the checks, y = x * scale with x: FP32[-1, 2] and scale: FP32[], and the worker that has it."""
import json
import sys

from frames import tensor

OPTIONS = json.loads(sys.argv[2])
URL = OPTIONS["url"]


def inputs(*rows, scale=3.0):
    flat = [value for row in rows for value in row]
    return [tensor("x", "FP32", [len(rows), 2], flat), tensor("scale", "FP32", [], [scale])]


def scaled(*rows, scale=3.0):
    return {"y": tensor("y", "FP32", [len(rows), 2], [value * scale for row in rows for value in row])}
