#!/usr/bin/env python3
"""Training speed of ninox against PyTorch eager, in turns.

    python3 bench/train_speed.py NINOX [--task fm-16] [--steps 200] [--threads 2] [--workers 0] [--rounds 3]

Both train the same convnet at batch 128 with Adam on random images held in
memory. Compared are the medians of one step: forward, backward and update,
without fetching the batch. Rounds alternate between the two, so that a change
of the machine's speed meets both; the ratio of each round and their median are
printed. PyTorch is installed into bench/.venv on first use (pip, about 200 MB).
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, venv

HERE = os.path.dirname(os.path.abspath(__file__))
BATCH, WARMUP = 128, 20
CHANNELS = {"fm-16": (1, 28, (16, 32, 32), 10), "fm-32": (1, 28, (32, 64, 64), 10),
            "c10-16": (3, 32, (16, 32, 32), 10), "c10-32": (3, 32, (32, 64, 64), 10), "c100-32": (3, 32, (32, 64, 64), 100)}


def in_venv(script=__file__):
    """Runs a script again in an environment that has PyTorch and numpy."""
    env = os.environ.get("NINOX_BENCH_VENV", os.path.join(HERE, ".venv"))
    python = os.path.join(env, "bin", "python")
    if not os.path.exists(python):
        venv.create(env, with_pip=True)
    if subprocess.call([python, "-c", "import torch, numpy"], stderr=subprocess.DEVNULL):
        subprocess.check_call([python, "-m", "pip", "install", "-q", "torch", "numpy"])
    sys.exit(subprocess.call([python, os.path.abspath(script), "--inside"] + sys.argv[1:]))


def torch_net(task):
    """The convnet of a task in PyTorch."""
    import torch.nn as nn
    cin, _, hid, classes = CHANNELS[task]
    return nn.Sequential(nn.Conv2d(cin, hid[0], 3, stride=2), nn.ReLU(),
                         nn.Conv2d(hid[0], hid[1], 3, padding=1), nn.ReLU(),
                         nn.Conv2d(hid[1], hid[2], 3, padding=1), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(hid[2], classes))


def torch_round(data, task, steps, threads):
    """Milliseconds of a step of PyTorch eager: median, batches included."""
    import time, numpy as np, torch, torch.nn as nn
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net = torch_net(task)
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    z = np.load(data)
    x, y = torch.from_numpy(z["input"]), torch.from_numpy(z["labels"])
    loss_fn, times = nn.CrossEntropyLoss(), []
    for step in range(steps + WARMUP):
        i = torch.randint(0, len(y), (BATCH,))
        xb, yb = x[i], y[i]
        t = time.perf_counter()
        opt.zero_grad(set_to_none=True)
        loss = loss_fn(net(xb), yb)
        loss.backward()
        opt.step()
        loss.item()
        times.append(time.perf_counter() - t)
    return 1000 * statistics.median(times[WARMUP:])


def ninox_round(ninox, data, task, steps, threads, workers):
    """Milliseconds of a step of ninox: summary.json's step_milliseconds."""
    with tempfile.TemporaryDirectory() as out:
        cmd = [ninox, "train", task, "--data", "npz:" + data, "--batch-size", str(BATCH), "--steps", str(steps + WARMUP),
               "--threads", str(threads), "--workers", str(workers), "--quiet", "--out", os.path.join(out, "run")]
        subprocess.run(cmd, check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(out, "run", "summary.json")) as f:
            return json.load(f)["step_milliseconds"]


def random_data(path, task):
    """12,000 random images and labels."""
    import numpy as np
    cin, size, _, classes = CHANNELS[task]
    rng = np.random.default_rng(0)
    np.savez(path, input=rng.standard_normal((12000, cin, size, size), dtype=np.float32), labels=rng.integers(0, classes, 12000))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("ninox")
    p.add_argument("--task", default="fm-16", choices=sorted(CHANNELS))
    p.add_argument("--steps", type=int, default=200)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--workers", type=int, default=0, help="as ninox train has it: 0 chooses, 1 does not split batches")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    if not a.inside:
        in_venv()
    ratios, torch_best, ninox_best = [], float("inf"), float("inf")
    with tempfile.TemporaryDirectory() as tmp:
        data = os.path.join(tmp, "data.npz")
        random_data(data, a.task)
        for r in range(a.rounds):
            # In a process of its own, whose threads do not wait beside ninox.
            code = "import sys; sys.path.insert(0, %r); import train_speed as t; print(t.torch_round(%r, %r, %d, %d))" % (HERE, data, a.task, a.steps, a.threads)
            torch_ms = float(subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout)
            ninox_ms = ninox_round(a.ninox, data, a.task, a.steps, a.threads, a.workers)
            ratios.append(ninox_ms / torch_ms)
            torch_best, ninox_best = min(torch_best, torch_ms), min(ninox_best, ninox_ms)
            print(f"round {r + 1}: PyTorch eager {torch_ms:.2f} ms/step, ninox {ninox_ms:.2f} ms/step, ratio {ratios[-1]:.2f}", flush=True)
    print(f"{a.task}, {a.threads} threads: ninox takes {statistics.median(ratios):.2f} times PyTorch's time (median of {a.rounds} rounds), {ninox_best / torch_best:.2f} by each one's best round")


if __name__ == "__main__":
    sys.exit(main())
