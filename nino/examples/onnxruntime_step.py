"""One nowcast with ONNX Runtime: onnxruntime_step.py STEP.onnx K S0 S1 S2 S3 S4 OUT

STEP.onnx is made by 'ninox nino export --model M.onnx --weights W -o STEP.onnx'. The states, oldest
first, and the result are safetensors with the model's parameters. Needs onnxruntime, safetensors.
"""
import sys

import numpy as np
import onnxruntime
from safetensors.numpy import load_file, save_file

step, k, *states, out = sys.argv[1:]
session = onnxruntime.InferenceSession(step, providers=["CPUExecutionProvider"])
states = [load_file(path) for path in states]
inputs = {i.name: np.stack([s[i.name] for s in states]).astype(np.float32) for i in session.get_inputs() if i.name != "k"}
names = [o.name for o in session.get_outputs()]
results = session.run(names, {**inputs, "k": np.array(int(k), np.int64)})

newest = dict(states[-1])  # what is no parameter stays as it is
newest.update({name.removesuffix(".next"): value for name, value in zip(names, results)})
save_file(newest, out)
print(session.get_modelmeta().custom_metadata_map["ninox.nino.horizons"])
