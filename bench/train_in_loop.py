#!/usr/bin/env python3
"""Training with one ONNX file in Python's ONNX Runtime, or in onnxruntime-web under Node.

    python3 bench/train_in_loop.py NINOX [--web NODE_MODULES]

A small classifier is written as ONNX, `ninox artifacts --form loop` makes it a
model that trains itself, and ONNX Runtime runs that: two calls of 150 steps,
the second with the outputs of the first. The same steps are made by `ninox
train`. With --web, onnxruntime-web (npm install onnxruntime-web) makes them
too. Printed are the losses and the largest differences; the exit code says
whether the loss fell and all agree. Needs numpy, onnx and onnxruntime.
"""
import argparse, json, os, subprocess, sys, tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLES, BATCH, STEPS, LR = 1024, 32, 300, 0.01


def classifier(path):
    rng = np.random.default_rng(0)
    weights = {"fc1.weight": rng.standard_normal((16, 8)) / 3, "fc1.bias": np.zeros(16),
               "fc2.weight": rng.standard_normal((4, 16)) / 4, "fc2.bias": np.zeros(4)}
    nodes = [helper.make_node("Gemm", ["x", "fc1.weight", "fc1.bias"], ["h"], transB=1), helper.make_node("Relu", ["h"], ["r"]),
             helper.make_node("Gemm", ["r", "fc2.weight", "fc2.bias"], ["scores"], transB=1)]
    graph = helper.make_graph(nodes, "classifier", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
                              [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 4])],
                              [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def samples():
    x = np.random.default_rng(1).standard_normal((SAMPLES, 8)).astype(np.float32)
    return x, x[:, :4].argmax(1).astype(np.int64)


def train_python(model, x, y):
    """Two calls, the second with the state that the first left."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    feeds = {"x.data": x, "labels.data": y, "learning_rate": np.array([LR], np.float32), "batch_size": np.array(BATCH),
             "step": np.array([0]), "state": np.zeros(0, np.float32)}
    losses = []
    for _ in range(2):
        feeds["steps"] = np.array(STEPS // 2, np.int64)
        out = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds)))
        losses += out["losses"].tolist()
        feeds["step"], feeds["state"] = out["step.final"], out["state.final"]
    return losses


def train_ninox(ninox, tmp, x, y):
    np.savez(tmp + "/data.npz", x=x, labels=y)
    subprocess.run([ninox, "train", tmp + "/model.onnx", "--data", f"npz:{tmp}/data.npz", "--steps", str(STEPS), "--batch-size", str(BATCH), "--lr", str(LR),
                    "--no-shuffle", "--workers", "1", "--out", tmp + "/run", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    with open(tmp + "/run/metrics.jsonl") as f:
        return [m["loss"] for m in map(json.loads, f) if "loss" in m]


def train_web(modules, model, x, y, tmp):
    x.tofile(tmp + "/x.bin")
    y.tofile(tmp + "/y.bin")
    job = {"model": model, "x": tmp + "/x.bin", "y": tmp + "/y.bin", "samples": SAMPLES, "batch": BATCH, "features": 8, "lr": LR, "calls": 2, "steps": STEPS // 2}
    out = subprocess.run(["node", os.path.join(HERE, "train_in_loop.mjs"), os.path.abspath(modules), json.dumps(job)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(out.stdout)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("ninox")
    p.add_argument("--web", help="folder node_modules that holds onnxruntime-web")
    a = p.parse_args()
    x, y = samples()
    with tempfile.TemporaryDirectory() as tmp:
        classifier(tmp + "/model.onnx")
        subprocess.run([a.ninox, "artifacts", tmp + "/model.onnx", "-o", tmp + "/loop", "--form", "loop"], check=True, stdout=subprocess.DEVNULL)
        model = tmp + "/loop/training_loop.onnx"
        runs = {"ninox train": train_ninox(a.ninox, tmp, x, y), "Python": train_python(model, x, y)}
        if a.web:
            runs["web"] = train_web(a.web, model, x, y, tmp)
    ok = True
    for name, losses in runs.items():
        worst = max(abs(a - b) for a, b in zip(losses, runs["ninox train"]))
        ok = ok and len(losses) == STEPS and losses[-1] < losses[0] / 2 and worst < 1e-4
        print(f"{name:12s} {len(losses)} steps, loss {losses[0]:.6f} to {losses[-1]:.6f}, largest difference from ninox train {worst:.1e}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
