"""One nowcast with OpenVINO: openvino_step.py STEP.onnx K S0 S1 S2 S3 S4 OUT

STEP.onnx is made by 'ninox nino export --model M.onnx --weights W -o STEP.onnx'. The states, oldest
first, and the result are safetensors with the model's parameters. Needs openvino, safetensors.
"""
import sys

import numpy as np
import openvino
from safetensors.numpy import load_file, save_file

step, k, *states, out = sys.argv[1:]
# CPU plugins may compute in bfloat16 where the processor has it; the prediction wants float32.
network = openvino.Core().compile_model(step, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
states = [load_file(path) for path in states]
inputs = {}
for i in network.inputs:  # OpenVINO knows a value by every name that it has on its way
    if "k" in i.names:
        inputs[i] = np.array(int(k), np.int64)
    else:
        (name,) = i.names & states[-1].keys()
        inputs[i] = np.stack([s[name] for s in states]).astype(np.float32)
results = network(inputs)

newest = dict(states[-1])  # what is no parameter stays as it is
for o in network.outputs:
    (name,) = (n for n in o.names if n.endswith(".next"))
    newest[name.removesuffix(".next")] = results[o]
save_file(newest, out)
