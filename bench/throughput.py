#!/usr/bin/env python3
"""Samples a second of a whole training, data included: ninox against plain PyTorch scripts.

    NINOX_DATA=FOLDER python3 bench/throughput.py NINOX [--steps 400] [--threads 2] [--rounds 3]

Both train FM/16 on FashionMNIST from its files, batch 128, Adam. PyTorch draws
its batches in two ways: from a DataLoader over a TensorDataset, as most scripts
do, and by indexing one tensor with a permutation, the fastest that is known.
Counted is the time from the end of step 20 to the end of the last, with all
that lies between: batches, normalization, records. Rounds take turns. The share
of ninox's steps that is not ONNX Runtime's is printed with them.
"""
import argparse, gzip, json, os, statistics, subprocess, sys, tempfile

import train_speed
from train_speed import BATCH, HERE, WARMUP

TASK = "fm-16"


def fashion_mnist(folder):
    """Images [60000, 1, 28, 28], bytes, and labels."""
    import numpy as np
    read = lambda name: gzip.open(os.path.join(folder, "fashion-mnist", name)).read()
    images = np.frombuffer(read("train-images-idx3-ubyte.gz"), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return images, np.frombuffer(read("train-labels-idx1-ubyte.gz"), np.uint8, offset=8).astype(np.int64)


def permuted(x, y):
    """Endless batches by a permutation of the samples in each epoch."""
    import torch
    while True:
        order = torch.randperm(len(y))
        for i in range(0, len(y) - BATCH + 1, BATCH):
            yield x[order[i:i + BATCH]], y[order[i:i + BATCH]]


def loaded(x, y):
    """The same from a DataLoader."""
    import torch
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=BATCH, shuffle=True, drop_last=True)
    while True:
        yield from loader


def torch_round(folder, way, steps, threads):
    """Samples a second."""
    import time, torch, torch.nn as nn
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net, loss_fn = train_speed.torch_net(TASK), nn.CrossEntropyLoss()
    opt = torch.optim.Adam(net.parameters(), lr=6e-3)
    images, labels = fashion_mnist(folder)
    x, y = torch.from_numpy(images.astype("float32") / 255).sub_(0.2860).div_(0.3530), torch.from_numpy(labels)
    batches = {"DataLoader": loaded, "permutation": permuted}[way](x, y)
    for step in range(steps + WARMUP):
        if step == WARMUP:
            start = time.perf_counter()
        xb, yb = next(batches)
        opt.zero_grad(set_to_none=True)
        loss = loss_fn(net(xb), yb)
        loss.backward()
        opt.step()
        loss.item()  # as ninox, which records the loss of every step
    return BATCH * steps / (time.perf_counter() - start)


def ninox_round(ninox, folder, steps, threads):
    """Samples a second, and the share of the loop."""
    with tempfile.TemporaryDirectory() as out:
        run = os.path.join(out, "run")
        cmd = [ninox, "train", TASK, "--data", "fashion-mnist", "--batch-size", str(BATCH), "--steps", str(steps + WARMUP), "--eval-every", str(steps + WARMUP),
               "--eval-samples", "100", "--threads", str(threads), "--quiet", "--out", run]
        subprocess.run(cmd, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ, NINOX_DATA=folder))
        at = {}
        for line in open(os.path.join(run, "metrics.jsonl")):
            m = json.loads(line)
            if "loss" in m:
                at[m["step"]] = m["seconds"]
        with open(os.path.join(run, "summary.json")) as f:
            return BATCH * steps / (at[steps + WARMUP] - at[WARMUP]), json.load(f)["loop_share"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("ninox")
    p.add_argument("--steps", type=int, default=400)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    folder = os.environ.get("NINOX_DATA")
    if not folder:
        p.error("NINOX_DATA is not set: the folder with fashion-mnist")
    if not a.inside:
        train_speed.in_venv(__file__)
    ratios = {"DataLoader": [], "permutation": []}
    for r in range(a.rounds):
        ours, share = ninox_round(a.ninox, folder, a.steps, a.threads)
        said = []
        for way, list in ratios.items():
            # In a process of its own, whose threads do not wait beside ninox.
            code = "import sys; sys.path.insert(0, %r); import throughput as t; print(t.torch_round(%r, %r, %d, %d))" % (HERE, folder, way, a.steps, a.threads)
            theirs = float(subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout)
            list.append(ours / theirs)
            said.append("PyTorch, %s %.0f (%.2f times)" % (way, theirs, list[-1]))
        print("round %d: ninox %.0f samples a second, loop %.2f %%; %s" % (r + 1, ours, 100 * share, "; ".join(said)), flush=True)
    print("ninox trains " + ", ".join("%.2f times as fast as with %s" % (statistics.median(v), way) for way, v in ratios.items()) + " (medians)")


if __name__ == "__main__":
    sys.exit(main())
