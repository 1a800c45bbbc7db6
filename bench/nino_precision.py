"""What fewer bits in NiNo's weights change: nino_precision.py NINOX W MODEL S0 S1 S2 S3 S4

Exports the step of MODEL in every precision, runs it on the states with ONNX Runtime, and prints how far
predictions are from those of fp32, as a share of the update's norm, and the size of the network alone.
Needs numpy, onnxruntime, safetensors.
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
from safetensors.numpy import load_file

ninox, weights, model, *states = sys.argv[1:]
states = [load_file(path) for path in states]
folder = tempfile.mkdtemp()


def export(name, *args):
    path = os.path.join(folder, name + ".onnx")
    subprocess.run([ninox, "nino", "export", "--weights", weights, "-o", path, *args], check=True, stdout=subprocess.DEVNULL)
    return path


def predict(path, k):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {i.name: np.stack([s[i.name] for s in states]).astype(np.float32) for i in session.get_inputs() if i.name != "k"}
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {**inputs, "k": np.array(k, np.int64)})))


horizons = (1, 20, 40)
exact = None
for precision in ("fp32", "fp16", "bf16", "int8"):
    path = export(precision, "--precision", precision, "--model", model)
    size = os.path.getsize(export(precision + "-alone", "--precision", precision))
    results = [predict(path, k) for k in horizons]
    exact = exact or results
    shares = []
    for got, want in zip(results, exact):
        off = sum(np.square(got[n].astype(float) - want[n]).sum() for n in want)
        update = sum(np.square(want[n].astype(float) - states[-1][n.removesuffix(".next")]).sum() for n in want)
        shares.append(100 * (off / update) ** 0.5)
    print(precision, size, "bytes;", ", ".join(f"k = {k}: {s:.3f} %" for k, s in zip(horizons, shares)), flush=True)
