#!/usr/bin/env python3
"""Training speed of ninox against PyTorch eager, side by side in one process tree.

    python3 bench/train_speed.py NINOX [--task fm-16] [--steps 300] [--threads 2] [--rounds 3]

Both train the same convnet at batch 128 with Adam on FashionMNIST images held
in memory. Rounds alternate between the two, so that a change of the machine's
speed meets both; the ratio of each round and its median are printed. PyTorch
is installed into bench/.venv on first use (pip, about 200 MB).
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, venv

HERE = os.path.dirname(os.path.abspath(__file__))
CHANNELS = {"fm-16": (1, 28, (16, 32, 32), 10), "fm-32": (1, 28, (32, 64, 64), 10),
            "c10-16": (3, 32, (16, 32, 32), 10), "c10-32": (3, 32, (32, 64, 64), 10), "c100-32": (3, 32, (32, 64, 64), 100)}


def torch_python():
    """The interpreter of an environment that has PyTorch."""
    env = os.path.join(HERE, ".venv")
    python = os.path.join(env, "bin", "python")
    if not os.path.exists(python):
        venv.create(env, with_pip=True)
        subprocess.check_call([python, "-m", "pip", "install", "-q", "torch", "numpy"])
    return python


def torch_round(task, steps, threads):
    """Milliseconds a step of PyTorch eager; runs inside the environment."""
    import time, torch, torch.nn as nn
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    cin, size, hid, classes = CHANNELS[task]
    net = nn.Sequential(nn.Conv2d(cin, hid[0], 3, stride=2), nn.ReLU(),
                        nn.Conv2d(hid[0], hid[1], 3, padding=1), nn.ReLU(),
                        nn.Conv2d(hid[1], hid[2], 3, padding=1), nn.ReLU(),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(hid[2], classes))
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    x = torch.randn(12000, cin, size, size)
    y = torch.randint(0, classes, (12000,))
    loss_fn = nn.CrossEntropyLoss()

    def step():
        i = torch.randint(0, 12000, (128,))
        opt.zero_grad(set_to_none=True)
        loss = loss_fn(net(x[i]), y[i])
        loss.backward()
        opt.step()
        return loss.item()

    for _ in range(20):
        step()
    t = time.perf_counter()
    for _ in range(steps):
        step()
    return 1000 * (time.perf_counter() - t) / steps


def ninox_round(ninox, task, steps, threads):
    """Milliseconds a step of ninox, batches and progress included."""
    with tempfile.TemporaryDirectory() as out:
        cmd = [ninox, "train", task, "--data", "synthetic" if not task.startswith("fm") else "embedded", "--steps", str(steps + 20),
               "--eval-every", "0", "--threads", str(threads), "--quiet", "--out", os.path.join(out, "run")]
        subprocess.run(cmd, check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(out, "run", "summary.json")) as f:
            return json.load(f)["step_milliseconds"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("ninox")
    p.add_argument("--task", default="fm-16", choices=sorted(CHANNELS))
    p.add_argument("--steps", type=int, default=300)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    a = p.parse_args()
    python, ratios = torch_python(), []
    for r in range(a.rounds):
        code = "import sys; sys.path.insert(0, %r); import train_speed as t; print(t.torch_round(%r, %d, %d))" % (HERE, a.task, a.steps, a.threads)
        torch_ms = float(subprocess.run([python, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout)
        ninox_ms = ninox_round(a.ninox, a.task, a.steps, a.threads)
        ratios.append(ninox_ms / torch_ms)
        print(f"round {r + 1}: PyTorch eager {torch_ms:.2f} ms/step, ninox {ninox_ms:.2f} ms/step, ratio {ratios[-1]:.2f}", flush=True)
    print(f"{a.task}, {a.threads} threads: ninox takes {statistics.median(ratios):.2f} times PyTorch's time (median of {a.rounds} rounds)")


if __name__ == "__main__":
    sys.exit(main())
