#!/usr/bin/env python3
"""Seconds, memory and rate of `ninox nino step`, for models of any size.

    python3 bench/nino_step.py NINOX WEIGHTS [--shapes fm-16 gpt2:3,24,4,50257 gpt2:3,64,4,50257]
        [--dtype fp32] [--threads 2] [--repeat 3] [--work FOLDER] [--svg FILE]
    python3 bench/nino_step.py NINOX WEIGHTS --linear [--largest 1500] --svg docs/nino-cost.svg

Models and states come from bench/nino/states (needs go), into FOLDER, where they
are kept for the next run. Each step runs in a process of its own; the best of
the repeats counts, and the machine's peak is measured by the same process right
after the step. --linear takes Llama shapes from 1 to 1,500 million parameters
(--largest: where to stop, in millions) with bfloat16 states, and --svg draws
seconds against parameters. --overhead adds, for each task of ninox, the share
of a step in 1,000 training steps (--train-steps of which are run). Llama-3.2-1B:

    python3 bench/nino_step.py NINOX WEIGHTS --shapes llama-3.2-1b --dtype bf16 --repeat 1

takes 18 GB of disk and, on two idle cores, about 30 minutes.
"""
import argparse, json, math, os, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# layers, width, heads, kv heads, hidden, vocabulary, by millions of parameters
LINEAR = {1: "llama:2,64,4,2,172,6000", 3: "llama:3,128,4,2,344,9000", 10: "llama:4,256,8,4,688,14000", 30: "llama:6,448,8,4,1200,20000",
          100: "llama:8,896,14,2,2400,26000", 300: "llama:12,1280,20,4,3456,64000", 1500: "llama-3.2-1b"}
IMAGES = ["fm-16", "c10-16", "fm-32", "c10-32", "c100-32"]
TEXTS = ["prose-3-24", "bytes-3-64"]  # with $NINOX_DATA, for its text and tokenizer


def states(shape, dtype, work):
    """The folder of a model and five states of a shape, written where it is missing."""
    folder = os.path.join(work, shape.replace(":", "-").replace(",", "-") + "-" + dtype)
    if not os.path.exists(os.path.join(folder, "done")):
        subprocess.check_call(["go", "run", "./bench/nino/states", "-shape", shape, "-dtype", dtype, "-out", folder], cwd=ROOT, stdout=subprocess.DEVNULL)
        open(os.path.join(folder, "done"), "w").close()
    return folder


def step(args, folder):
    """The report of the fastest of the repeated steps."""
    best = None
    for _ in range(args.repeat):
        with tempfile.TemporaryDirectory(dir=args.work) as out:
            command = [args.ninox, "--json", "--threads", str(args.threads), "nino", "step", "--peak", "--model", os.path.join(folder, "model.onnx"),
                       "--weights", args.weights, "--k", "20", "-o", os.path.join(out, "next.safetensors"), "--states"]
            command += [os.path.join(folder, "s%d" % i) for i in range(5)]
            if args.memory:
                command += ["--memory", args.memory]
            r = json.loads(subprocess.check_output(command))
        if best is None or r["seconds"] < best["seconds"]:
            best = r
    return best


def row(shape, r):
    s = r["stream"]
    return "| %s | %.2f | %.2f | %d | %.3f | %.4f | %.0f | %.1f | %.0f %% |" % (
        shape, r["parameters"] / 1e6, s["edges"] / 1e6, round(s.get("memory", 0) / 1e6), r["seconds"], s["predict_seconds"], 1e9 * s["predict_seconds"] / s["edges"], s["gflops"], 100 * s["share_of_peak"])


def draw(points, path):
    """Seconds against parameters on logarithmic axes, with the line of constant cost through the largest."""
    w, h, pad = 560, 380, 56
    xs = [math.log10(p) for p, _ in points]
    ys = [math.log10(t) for _, t in points]
    x0, x1, y0, y1 = math.floor(min(xs)), math.ceil(max(xs)), math.floor(min(ys)), math.ceil(max(ys))
    px = lambda x: pad + (x - x0) / max(1, x1 - x0) * (w - 2 * pad)
    py = lambda y: h - pad - (y - y0) / max(1, y1 - y0) * (h - 2 * pad)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">' % (w, h), '<rect width="100%" height="100%" fill="white"/>']
    for x in range(x0, x1 + 1):
        out.append('<path d="M%g %gV%g" stroke="#ddd"/><text x="%g" y="%g" text-anchor="middle">10<tspan dy="-4" font-size="9">%d</tspan></text>' % (px(x), py(y0), py(y1), px(x), h - pad + 18, x))
    for y in range(y0, y1 + 1):
        out.append('<path d="M%g %gH%g" stroke="#ddd"/><text x="%g" y="%g" text-anchor="end">%g</text>' % (px(x0), py(y), px(x1), pad - 8, py(y) + 4, 10.0 ** y))
    low = max(x0, xs[-1] - (ys[-1] - y0))
    out.append('<path d="M%g %gL%g %g" stroke="#999" stroke-dasharray="4 3"/>' % (px(low), py(ys[-1] - xs[-1] + low), px(xs[-1]), py(ys[-1])))
    out.append('<path d="M%s" fill="none" stroke="#1f6feb" stroke-width="2"/>' % " L".join("%g %g" % (px(x), py(y)) for x, y in zip(xs, ys)))
    out += ['<circle cx="%g" cy="%g" r="3.5" fill="#1f6feb"/>' % (px(x), py(y)) for x, y in zip(xs, ys)]
    out.append('<text x="%g" y="%g" text-anchor="middle">parameters</text><text x="16" y="%g" transform="rotate(-90 16 %g)" text-anchor="middle">seconds of a step</text></svg>' % (w / 2, h - 14, h / 2, h / 2))
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n")


def overhead(args):
    """For each task: seconds of a step and of 1,000 training steps."""
    print("| task | step, s | 1,000 training steps, s | share |\n|---|--:|--:|--:|")
    for task in IMAGES + (TEXTS if "NINOX_DATA" in os.environ else []):
        r = step(args, states(task, "fp32", args.work))
        with tempfile.TemporaryDirectory() as out:
            run = os.path.join(out, "run")
            command = [args.ninox, "--quiet", "--threads", str(args.threads), "accelerate", task, "--method", "none",
                       "--steps", str(args.train_steps), "--eval-every", str(args.train_steps), "--eval-samples", "32", "--out", run] + task_data(task, out)
            subprocess.check_call(command, stdout=subprocess.DEVNULL)
            with open(os.path.join(run, "summary.json")) as f:
                ms = json.load(f)["step_milliseconds"]
        print("| %s | %.3f | %.1f | %.2f %% |" % (task, r["seconds"], ms, 100 * r["seconds"] / ms), flush=True)


def task_data(task, folder):
    """Flags for a task's data: text, or random images, since speed does not depend on what they show."""
    import numpy as np
    root = os.environ.get("NINOX_DATA")
    if task in TEXTS:
        flags = ["--data", "text:" + os.path.join(root, "text", "*.txt*")]
        return flags + ["--tokenizer", os.path.join(root, "gpt2-bpe")] if task.startswith("prose") else flags
    channels, side, classes = {"fm": (1, 28, 10), "c10": (3, 32, 10), "c100": (3, 32, 100)}[task.split("-")[0]]
    rng = np.random.default_rng(0)
    path = os.path.join(folder, "data.npz")
    np.savez(path, input=rng.standard_normal((2048, channels, side, side), dtype=np.float32), labels=rng.integers(0, classes, 2048))
    return ["--data", "npz:" + path]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("ninox")
    p.add_argument("weights")
    p.add_argument("--shapes", nargs="*", default=["fm-16", "gpt2:3,24,4,50257", "gpt2:3,64,4,50257"])
    p.add_argument("--dtype", default="fp32")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--memory", default="")
    p.add_argument("--work", default=os.path.join(tempfile.gettempdir(), "ninox-step"))
    p.add_argument("--linear", action="store_true")
    p.add_argument("--largest", type=int, default=1500)
    p.add_argument("--svg", default="")
    p.add_argument("--overhead", action="store_true")
    p.add_argument("--train-steps", type=int, default=100)
    args = p.parse_args()
    args.ninox = os.path.abspath(args.ninox)
    os.makedirs(args.work, exist_ok=True)
    if args.overhead:
        return overhead(args)
    shapes = [(s, args.dtype) for s in args.shapes]
    if args.linear:
        shapes = [(s, "bf16") for m, s in LINEAR.items() if m <= args.largest]
    print("| model | parameters, M | edges, M | memory, MB | step, s | prediction, s | ns an edge | GFLOPS | of the peak |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    points = []
    for shape, dtype in shapes:
        r = step(args, states(shape, dtype, args.work))
        points.append((r["parameters"], r["seconds"]))
        print(row(shape, r), flush=True)
    if args.svg:
        draw(points, args.svg)


if __name__ == "__main__":
    main()
