#!/usr/bin/env python3
"""Training speed and memory of ninox against PyTorch on exported networks, in turns.

    python3 bench/train_speed_nets.py NINOX [--nets gpt-4096,gpt-50257,resnet,lstm] [--steps 30] [--threads 2] [--rounds 3] [--compile] [--official PYTHON]

Each network is written in PyTorch and exported to ONNX; both train it by AdamW
and cross-entropy on equal random batches. gpt-V is a transformer of 3 layers,
width 64 and vocabulary V at 4×256 tokens, resnet has three stages with batch
normalization on 64 images of 32×32, lstm reads 32 sequences of 32 steps.
Compared are medians of one step, and the peak of resident memory (VmHWM) of a
process, less what it held before its first step; rounds alternate. --compile
adds torch.compile, whose compilation is left out of both; --official adds ONNX
Runtime's own training engine (see train_speed_official.py). Needs torch, numpy, onnx.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time

import numpy as np
import torch
import torch.nn as nn

HERE = os.path.dirname(os.path.abspath(__file__))
WARMUP = 5


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        mask = torch.full((t, t), -1e9).triu(1)
        p = torch.softmax(q @ k.transpose(-1, -2) * (c // self.heads) ** -0.5 + mask, -1)
        x = x + self.out((p @ v).transpose(1, 2).reshape(b, t, c))
        return x + self.down(torch.relu(self.up(self.norm2(x))))


class GPT(nn.Module):
    def __init__(self, vocabulary, width=64, context=256):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Parameter(torch.randn(context, width) / 50)
        self.blocks = nn.Sequential(*[Block(width, 4) for _ in range(3)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids):
        return self.head(self.norm(self.blocks(self.tokens(ids) + self.places)))


class Residual(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(), nn.Conv2d(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout))
        self.skip = nn.Identity() if cin == cout and stride == 1 else nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        return torch.relu(self.body(x) + self.skip(x))


def resnet():
    return nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class LSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(32, 64, batch_first=True), nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def task(name):
    """The network, its input and its labels."""
    torch.manual_seed(0)
    if name.startswith("gpt-"):
        v = int(name[4:])
        ids = torch.randint(0, v, (4, 256))
        return GPT(v), ids, torch.randint(0, v, (4, 256))
    if name == "resnet":
        return resnet(), torch.randn(64, 3, 32, 32), torch.randint(0, 10, (64,))
    return LSTM(), torch.randn(32, 32, 32), torch.randint(0, 10, (32,))


def peak(pid="self"):
    """Largest resident memory of a process so far, in MB."""
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024


def torch_round(name, steps, threads, compiled=False):
    """Milliseconds of a step of PyTorch, and MB that training adds."""
    torch.set_num_threads(threads)
    net, x, y = task(name)
    before = peak()
    if compiled:
        net = torch.compile(net)
    opt, times = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0), []
    for _ in range(steps + WARMUP):
        t = time.perf_counter()
        opt.zero_grad(set_to_none=True)
        out = net(x)
        loss = nn.functional.cross_entropy(out.reshape(-1, out.shape[-1]), y.reshape(-1))
        loss.backward()
        opt.step()
        loss.item()
        times.append(time.perf_counter() - t)
    return 1000 * statistics.median(times[WARMUP:]), peak() - before


def prepare(name, tmp):
    net, x, y = task(name)
    torch.onnx.export(net, x, tmp + "/model.onnx", dynamo=False, opset_version=17, input_names=["input"], output_names=["output"],
                      training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False)
    np.savez(tmp + "/data.npz", input=x.numpy(), labels=y.numpy())
    return len(x)


def ninox_round(ninox, tmp, batch, steps, threads):
    """Milliseconds of a step (summary.json's step_milliseconds), and peak MB less
    that of a run that ends before its first step."""
    def run(*args):
        child = subprocess.Popen([ninox, "train", tmp + "/model.onnx", "--data", f"npz:{tmp}/data.npz", "--batch-size", str(batch), "--threads", str(threads), "--quiet", *args],
                                 stdout=subprocess.DEVNULL)
        most = 0
        while child.poll() is None:  # a child's ru_maxrss would count this process before exec
            try:
                most = max(most, peak(child.pid))
            except (OSError, StopIteration):
                pass  # it has just ended
            time.sleep(0.01)
        if child.returncode:
            raise SystemExit(f"ninox train failed: {child.returncode}")
        return most
    before = run("--explain", "--steps", "1")
    most = run("--steps", str(steps + WARMUP), "--overwrite", "--out", tmp + "/run")
    with open(tmp + "/run/summary.json") as f:
        return json.load(f)["step_milliseconds"], most - before


def apart(name, steps, threads, compiled):
    """torch_round in a process of its own, whose threads do not wait beside ninox."""
    code = "import sys, json; sys.path.insert(0, %r); import train_speed_nets as t; print(json.dumps(t.torch_round(%r, %d, %d, %r)))" % (HERE, name, steps, threads, compiled)
    out = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def official(python, tmp, steps, threads):
    """The round of ONNX Runtime's engine; no numbers where it refuses the network."""
    run = subprocess.run([python, os.path.join(HERE, "train_speed_official.py"), tmp, str(steps), str(threads)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if run.returncode:
        print("official engine: " + run.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    return json.loads(run.stdout.strip().splitlines()[-1])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("ninox")
    p.add_argument("--nets", default="gpt-4096,gpt-50257,resnet,lstm")
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--compile", action="store_true", help="torch.compile as well")
    p.add_argument("--official", metavar="PYTHON", help="ONNX Runtime's training engine as well, installed for this interpreter")
    a = p.parse_args()
    for name in a.nets.split(","):
        with tempfile.TemporaryDirectory() as tmp:
            batch = prepare(name, tmp)
            rivals = {"eager": False, **({"compiled": True} if a.compile else {})}
            ratios = {r: [] for r in [*(f"PyTorch {r}" for r in rivals), *(["ONNX Runtime training"] if a.official else [])]}
            for r in range(a.rounds):
                theirs = {f"PyTorch {k}": apart(name, a.steps, a.threads, c) for k, c in rivals.items()}
                if a.official and (result := official(a.official, tmp, a.steps, a.threads)):
                    theirs["ONNX Runtime training"] = result
                ours, memory = ninox_round(a.ninox, tmp, batch, a.steps, a.threads)
                line = f"{name} round {r + 1}: ninox {ours:.2f} ms/step, {memory:.0f} MB"
                for k, (ms, mb) in theirs.items():
                    ratios[k].append((ours / ms, memory / mb))
                    line += f"; {k} {ms:.2f} ms/step, {mb:.0f} MB, ratios {ours / ms:.2f} and {memory / mb:.2f}"
                print(line, flush=True)
        for k, v in ratios.items():
            if not v:
                continue
            time_ratio, memory_ratio = (statistics.median(x) for x in zip(*v))
            print(f"{name}, {a.threads} threads: ninox takes {time_ratio:.2f} times the time and {memory_ratio:.2f} times the memory of {k} (medians of {a.rounds} rounds)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
