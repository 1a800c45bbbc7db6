#!/usr/bin/env python3
"""Reading a model and inferring its shapes: ninox against the onnx package.

    python3 bench/onnx_load.py [MODEL.onnx …] [--rounds 5]

Measured is what a tool does first with a model: with onnx, onnx.load and
onnx.shape_inference.infer_shapes with data propagation; with ninox, onnxgraph.ReadFile
and infer.Run, which always propagates. Both in a process that has started already, on files in the
system's cache. The models are three of its own, written anew each time: 10,000
nodes, 10,000 nodes in 110 MB, and 110 MB in a few tensors; and those given.
Rounds alternate between the two, so that a change of the machine's speed meets
both; printed are the best times, and medians of the rounds' ratios: of the best
times, and of the processor's times, which other work on the machine disturbs least.
onnx must be installed; go must be in the path.
"""
import argparse, os, re, statistics, subprocess, sys, tempfile, time

RUNS = 5  # of each in a round
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def blocks(path, count, width):
    """A chain of blocks of ten nodes as exporters write them."""
    import numpy as np, onnx
    from onnx import helper, numpy_helper, TensorProto
    nodes, weights = [], [numpy_helper.from_array(np.array([0], np.int64), "zero"), numpy_helper.from_array(np.array([-1, 4, width // 4], np.int64), "tail")]
    rng = np.random.default_rng(0)
    x = "x"
    for i in range(count):
        n = lambda s: f"/layers.{i}/{s}"
        weights.append(numpy_helper.from_array(rng.standard_normal((width, width), dtype=np.float32), f"layers.{i}.weight"))
        weights.append(numpy_helper.from_array(rng.standard_normal(width, dtype=np.float32), f"layers.{i}.bias"))
        nodes += [
            helper.make_node("MatMul", [x, f"layers.{i}.weight"], [n("matmul")], n("MatMul")),
            helper.make_node("Add", [n("matmul"), f"layers.{i}.bias"], [n("add")], n("Add")),
            helper.make_node("Shape", [n("add")], [n("shape")], n("Shape")),
            helper.make_node("Gather", [n("shape"), "zero"], [n("gather")], n("Gather"), axis=0),
            helper.make_node("Concat", [n("gather"), "tail"], [n("concat")], n("Concat"), axis=0),
            helper.make_node("Reshape", [n("add"), n("concat")], [n("heads")], n("Reshape")),
            helper.make_node("Transpose", [n("heads")], [n("transposed")], n("Transpose"), perm=[0, 2, 1, 3]),
            helper.make_node("Relu", [n("transposed")], [n("relu")], n("Relu")),
            helper.make_node("Reshape", [n("relu"), n("shape")], [n("flat")], n("Reshape_1")),
            helper.make_node("Add", [x, n("flat")], [n("out")], n("Add_1")),
        ]
        x = n("out")
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "time", width])
    graph = helper.make_graph(nodes, "chain", [value("x")], [value(x)], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def onnx_round(path):
    """Seconds of onnx's load and inference: the best run's, and of the processor in all."""
    import onnx
    best, cpu = float("inf"), time.process_time()
    for _ in range(RUNS):
        start = time.perf_counter()
        model = onnx.load(path)
        onnx.shape_inference.infer_shapes(model, data_prop=True)
        best = min(best, time.perf_counter() - start)
    return best, (time.process_time() - cpu) / RUNS


def ninox_round(binary, path):
    """The same of ninox, by its own Go benchmark."""
    out = subprocess.run([binary, "-test.run", "^$", "-test.bench", "ReadAndInfer", "-test.benchtime", f"{RUNS}x"], check=True, text=True,
                         stdout=subprocess.PIPE, cwd=os.path.join(ROOT, "onnxgraph", "infer"), env=dict(os.environ, NINOX_BENCH_MODELS=path)).stdout
    return tuple(float(re.search(rf"([0-9.e+-]+) {unit}-ns/op", out).group(1)) / 1e9 for unit in ("best", "cpu"))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="*")
    p.add_argument("--rounds", type=int, default=5)
    a = p.parse_args()
    import onnx
    print("onnx", onnx.__version__)
    with tempfile.TemporaryDirectory() as tmp:
        binary = os.path.join(tmp, "infer.test")
        subprocess.run(["go", "test", "-c", "-o", binary, "./onnxgraph/infer"], check=True, cwd=ROOT)
        own = []
        for name, count, width in (("10,000 nodes", 1000, 16), ("10,000 nodes, 110 MB", 1000, 164), ("60 nodes, 110 MB", 6, 2140)):
            own.append((name, os.path.join(tmp, name + ".onnx")))
            blocks(own[-1][1], count, width)
        for name, path in own + [(os.path.basename(m), os.path.abspath(m)) for m in a.models]:
            theirs, ours = [], []
            for _ in range(a.rounds):
                try:
                    theirs.append(onnx_round(path))
                except Exception as e:  # inference refuses some models
                    print(f"{name}: onnx fails: {str(e).splitlines()[0]}")
                    break
                ours.append(ninox_round(binary, path))
            else:
                ratio, cpu = (statistics.median(t[i] / o[i] for t, o in zip(theirs, ours)) for i in (0, 1))
                print(f"{name:34} onnx {1000 * min(theirs)[0]:9.2f} ms, ninox {1000 * min(ours)[0]:8.2f} ms: {ratio:7.1f} times as fast, {cpu:7.1f} times by the processor's time", flush=True)


if __name__ == "__main__":
    sys.exit(main())
