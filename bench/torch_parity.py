#!/usr/bin/env python3
"""Losses of ninox against PyTorch: the same network from equal weights on equal batches.

    python3 bench/torch_parity.py NINOX [--steps 20] [--tolerance 1e-5]
    python3 bench/torch_parity.py --record

The FM/16 convnet of the paper is defined in PyTorch, exported to ONNX and
trained by both with Adam (learning rate 6e-3, batch 128). Weights and batches
follow from a formula (splitmix64), so that the numbers can be had again
anywhere: --record prints them as training/testdata/torch_fm16.json has them,
where a Go test holds ninox to them. Needs torch, numpy and onnx; they are
installed into bench/.venv on first use (pip, about 200 MB).
"""
import argparse, json, os, subprocess, sys, tempfile, venv

HERE = os.path.dirname(os.path.abspath(__file__))
BATCH, BATCHES, SIDE, CLASSES, LR = 128, 4, 28, 10, 6e-3


def in_venv():
    """Runs this script again in an environment that has what it needs."""
    env = os.environ.get("NINOX_BENCH_VENV", os.path.join(HERE, ".venv"))
    python = os.path.join(env, "bin", "python")
    if not os.path.exists(python):
        venv.create(env, with_pip=True)
    if subprocess.call([python, "-c", "import torch, numpy, onnx"], stderr=subprocess.DEVNULL):
        subprocess.check_call([python, "-m", "pip", "install", "-q", "torch", "numpy", "onnx"])
    sys.exit(subprocess.call([python, os.path.abspath(__file__), "--inside"] + sys.argv[1:]))


def splitmix(first, count):
    """splitmix64 of first, first+1, ... as uint64."""
    import numpy as np
    with np.errstate(over="ignore"):
        z = (np.arange(first, first + count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(first, count):
    """Doubles in [-1, 1)."""
    import numpy as np
    return (splitmix(first, count) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0


def network():
    """The FM/16 convnet with weights uniform in ±1/sqrt(fan-in), by the formula."""
    import torch, torch.nn as nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Sequential(nn.Conv2d(1, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
                                    nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES))

        def forward(self, x):
            return self.fc(x)

    net, at = Net(), 0
    fan = {"fc.0": 9, "fc.2": 144, "fc.4": 288, "fc.8": 32}
    with torch.no_grad():
        for name, p in net.named_parameters():
            v = uniform(at, p.numel()) / fan[name[:4]] ** 0.5
            p.copy_(torch.from_numpy(v.astype("float32")).reshape(p.shape))
            at += p.numel()
    return net


def batches():
    """Noise with a pattern that tells the class, as arrays of all samples."""
    import numpy as np
    n, pixels = BATCH * BATCHES, SIDE * SIDE
    labels = (splitmix(1 << 40, n) % np.uint64(CLASSES)).astype(np.int64)
    x = uniform(1 << 32, n * pixels).reshape(n, pixels) + (np.arange(pixels)[None, :] % CLASSES == labels[:, None])
    return x.astype(np.float32).reshape(n, 1, SIDE, SIDE), labels


def torch_losses(steps):
    import torch
    torch.set_num_threads(1)
    net, (x, y) = network(), batches()
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    opt, loss_fn, out = torch.optim.Adam(net.parameters(), lr=LR), torch.nn.CrossEntropyLoss(), []
    for s in range(steps):
        rows = slice(s % BATCHES * BATCH, (s % BATCHES + 1) * BATCH)
        opt.zero_grad()
        loss = loss_fn(net(x[rows]), y[rows])
        loss.backward()
        opt.step()
        out.append(loss.item())
    return out


def ninox_losses(ninox, steps):
    import numpy as np, torch
    with tempfile.TemporaryDirectory() as tmp:
        path = lambda *p: os.path.join(tmp, *p)
        net, (x, y) = network(), batches()
        torch.onnx.export(net, torch.from_numpy(x[:2]), path("model.onnx"), dynamo=False, opset_version=17, input_names=["input"], output_names=["output"],
                          dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}})
        np.savez(path("data.npz"), input=x, labels=y)
        subprocess.run([ninox, "artifacts", path("model.onnx"), "-o", path("artifacts"), "--loss", "cross-entropy", "--optimizer", "adam"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([ninox, "train", path("artifacts"), "--data", "npz:" + path("data.npz"), "--steps", str(steps), "--batch-size", str(BATCH),
                        "--no-shuffle", "--lr", str(LR), "--out", path("run"), "--quiet"], check=True, stdout=subprocess.DEVNULL)
        with open(path("run", "metrics.jsonl")) as f:
            return [m["loss"] for m in map(json.loads, f) if "loss" in m]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("ninox", nargs="?")
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--tolerance", type=float, default=1e-5)
    p.add_argument("--record", action="store_true", help="print PyTorch's losses as JSON")
    p.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    if not a.record and not a.ninox:
        p.error("expected the ninox binary, or --record")
    if not a.inside:
        in_venv()
    want = torch_losses(a.steps)
    if a.record:
        import torch
        print(json.dumps({"torch": torch.__version__, "lr": LR, "losses": want}, indent=1))
        return 0
    got = ninox_losses(a.ninox, a.steps)
    worst = 0.0
    for s, (w, g) in enumerate(zip(want, got), 1):
        worst = max(worst, abs(w - g))
        print(f"step {s:3d}  PyTorch {w:.7f}  ninox {g:.7f}  difference {abs(w - g):.1e}")
    ok = len(got) == len(want) and worst <= a.tolerance
    print(f"largest difference over {len(got)} steps: {worst:.1e}, allowed {a.tolerance:.0e}: {'equal' if ok else 'DIFFERENT'}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
