#!/usr/bin/env python3
"""One round of ONNX Runtime's own training engine, for train_speed_nets.py --official.

    PYTHON bench/train_speed_official.py DIR STEPS THREADS

DIR holds model.onnx and data.npz (input, labels). Derives official artifacts by
AdamW and cross-entropy, trains on the one batch, and prints, as JSON, the median
milliseconds of a step and the MB that training adds. The engine was last
published in 2024: PYTHON needs pip install onnxruntime-training-cpu==1.19.2
onnx==1.16.2 'numpy<2' torch, of which torch is imported only.
"""
import json, os, statistics, sys, time

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.training import artifacts
from onnxruntime.training.api import CheckpointState, Module, Optimizer

WARMUP = 5


def peak():
    """Largest resident memory so far, in MB."""
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024


def rows(model, classes):
    """Gives the output two axes: the official loss takes classes on axis 1."""
    g = model.graph
    g.initializer.append(onnx.numpy_helper.from_array(np.array([-1, classes]), "rows.shape"))
    g.node.append(onnx.helper.make_node("Reshape", [g.output[0].name, "rows.shape"], ["rows"]))
    del g.output[:]
    g.output.append(onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, [None, classes]))


def name_statistics(model):
    """The official tool derives no gradient of LayerNormalization whose optional outputs are unnamed."""
    for n in model.graph.node:
        if n.op_type == "LayerNormalization" and len(n.output) == 1:
            n.output.extend([n.output[0] + ".mean", n.output[0] + ".inverse"])


def main(d, steps, threads):
    model = onnx.load(d + "/model.onnx")
    name_statistics(model)
    z = np.load(d + "/data.npz")
    x, y = z["input"], z["labels"].reshape(-1)
    shape = [v.dim_value for v in model.graph.output[0].type.tensor_type.shape.dim]
    if len(shape) == 3:
        rows(model, shape[2])
    statistics_of = {n for node in model.graph.node if node.op_type == "BatchNormalization" for n in node.input[3:5]}
    trained = [t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and t.dims and t.name not in statistics_of]
    out = os.path.join(d, "official")
    os.makedirs(out, exist_ok=True)
    artifacts.generate_artifacts(model, requires_grad=trained, frozen_params=sorted(statistics_of), loss=artifacts.LossType.CrossEntropyLoss,
                                 optimizer=artifacts.OptimType.AdamW, artifact_directory=out)
    before = peak()
    o = ort.SessionOptions()
    o.intra_op_num_threads = threads
    state = CheckpointState.load_checkpoint(out + "/checkpoint")
    net = Module(out + "/training_model.onnx", state, out + "/eval_model.onnx" if not statistics_of else None, session_options=o)
    opt = Optimizer(out + "/optimizer_model.onnx", net)
    net.train()
    times = []
    for _ in range(steps + WARMUP):
        t = time.perf_counter()
        net(x, y)
        opt.step()
        net.lazy_reset_grad()
        times.append(time.perf_counter() - t)
    print(json.dumps([1000 * statistics.median(times[WARMUP:]), peak() - before]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
