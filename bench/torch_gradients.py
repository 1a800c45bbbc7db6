#!/usr/bin/env python3
"""Gradients of ninox against PyTorch's autograd, on networks exported by torch.onnx.

    python3 bench/torch_gradients.py NINOX [NETWORK ...] [--variants legacy,dynamo,...] [--losses cross-entropy,mse] [--tolerance 1e-5]

Networks and variants are those of bench/zoo/export.py, whose environment this
needs, with onnxruntime. Every network is exported, `ninox artifacts` derives the
training graph, stock ONNX Runtime executes it on the checkpoint's parameters,
and loss and gradients are compared with those of the PyTorch module in float32.
Dropout is off. Batch normalization uses the statistics of the batch where the
exporter left it; where it was fused into convolutions, so it is in PyTorch.
For the former, batches are drawn until float32 and float64 agree on the side of every
ReLU's kink: rounding decides otherwise, and no error can be told.

An exported tensor belongs to the parameter of its name and shape; others, which
an exporter has transposed, cut or reordered, are traced element by element by
their values, which are made distinct. Gradients of elements that an export has
more than once (tied weights) are summed. The error of a parameter is the
largest |g - g_torch| over the largest |g_torch|. A gradient that is 0 but for
rounding, such as that of a key's bias under softmax, is measured by the largest
gradient of the network instead. Columns:

    error     ninox against PyTorch in float32, in the worst parameter
    ninox64   ninox against PyTorch in float64
    torch64   PyTorch in float32 against PyTorch in float64: what rounding does

Every parameter has to be within the tolerance of PyTorch in float32 or, where
rounding in PyTorch is larger than that, in float64; else, and where a parameter
is not trained, the exit status is 1.
"""
import argparse, copy, os, subprocess, sys, tempfile

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "zoo"))
import export as zoo

NETWORKS = ("resnet18", "gpt2", "gpt2_eager", "bert", "llama", "vit_b_16", "lstm")
VARIANTS = ("legacy", "legacy_raw", "dynamo", "dynamo_raw")
IMAGES, DRAWS, KINK = 6, 20, 1e-3  # a batch that is normalized: fewer values magnify rounding
DISTINCT = 1 << 20  # parameters that a network may have for its values to be made distinct
ZERO = 1e-10  # of the largest gradient: what float64 leaves of a gradient that is 0
HEADS = ("network", "export", "batch norm", "loss", "tensors", "|loss|", "error", "ninox64", "torch64", "worst parameter")
ROW = "{:<10} {:<11} {:<10} {:<14} {:>7} {:>8} {:>8} {:>8} {:>8}  {}"


class Parameters:
    """The parameters of a module as one vector, in the order of their names."""

    def __init__(self, module):
        prefix = "model." if isinstance(module, zoo.Pick) else ""
        self.tensors = dict(module.named_parameters())
        self.names, self.starts, at = {}, {}, 0
        for name, p in module.named_parameters(remove_duplicate=False):
            first = next(n for n, q in self.tensors.items() if q is p)
            if first == name:
                self.starts[name], at = at, at + p.numel()
            self.names[name] = self.names[name.removeprefix(prefix)] = first

    def vector(self, read=lambda p: p):
        return torch.cat([read(p).detach().flatten() for p in self.tensors.values()]).numpy()

    def gradients(self):
        return self.vector(lambda p: torch.zeros_like(p) if p.grad is None else p.grad)

    def slices(self):
        return {n: slice(s, s + self.tensors[n].numel()) for n, s in self.starts.items()}

    def whole(self, name):
        return self.starts[name] + np.arange(self.tensors[name].numel())


def distinct(module):
    """Moves equal values apart by the smallest steps of float32."""
    params = Parameters(module)
    values = params.vector()
    if len(values) > DISTINCT:
        return
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    for i in range(1, len(ranked)):
        if ranked[i] <= ranked[i - 1]:
            ranked[i] = np.nextafter(ranked[i - 1], np.float32(np.inf))
    values[order] = ranked
    with torch.no_grad():
        for name, s in params.slices().items():
            params.tensors[name].copy_(torch.from_numpy(values[s]).reshape(params.tensors[name].shape))


def places(params, tensors):
    """For every tensor of a checkpoint the places of its elements in the vector
    of parameters, or None where it has others."""
    values = params.vector()
    order = np.argsort(values, kind="stable")
    ranked, found = values[order], {}
    ambiguous = np.zeros(len(values), bool)
    ambiguous[:-1] |= ranked[1:] == ranked[:-1]

    def near(name, v):
        p = params.tensors[name]
        return tuple(p.shape) == v.shape and np.allclose(p.detach().numpy(), v, rtol=1e-5, atol=1e-7)

    for name, v in tensors.items():
        known = params.names.get(name)
        if known and near(known, v):
            found[name] = params.whole(known)
            continue
        at = np.minimum(np.searchsorted(ranked, v.ravel()), len(ranked) - 1)
        if (ranked[at] == v.ravel()).all() and not ambiguous[at].any():
            found[name] = order[at]
            continue
        alike = [n for n in params.tensors if near(n, v)]  # folded with other rounding
        found[name] = params.whole(alike[0]) if len(alike) == 1 else None
    return found


def reference(module, args, labels, loss):
    """PyTorch's loss, and its gradients in the parameters."""
    module.zero_grad()
    out = module(*args)
    out = out[0] if isinstance(out, tuple) else out
    if loss == "mse":
        value = nn.functional.mse_loss(out, labels.to(out.dtype))
    else:
        value = nn.functional.cross_entropy(out.flatten(0, -2), labels.flatten())
    value.backward()
    return value.item(), Parameters(module).gradients().astype(np.float64)


def derive(ninox, model, folder, loss):
    """The training graph, and the tensors of its checkpoint by name."""
    from safetensors.numpy import load_file
    for command in (["artifacts", model, "-o", folder, "--overwrite", "--loss", loss, "--optimizer", "sgd"],
                    ["weights", "convert", os.path.join(folder, "checkpoint"), "-o", os.path.join(folder, "checkpoint.safetensors")]):
        done = subprocess.run([ninox, *command, "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
    return os.path.join(folder, "training_model.onnx"), load_file(os.path.join(folder, "checkpoint.safetensors"))


def execute(path, tensors, batch, labels):
    """Loss and gradients by name, as ONNX Runtime computes them."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {i.name: tensors.get(i.name, batch.get(i.name, labels)) for i in session.get_inputs()}
    named = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds)))
    trained = [n for n in tensors if n + "_grad" in named]
    return float(next(iter(named.values())).ravel()[0]), {n: named[n + "_grad"] for n in trained}


def is_batch_norm(module):
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def enlarged(inputs):
    """Inputs of IMAGES samples in place of the few of the zoo."""
    return [(n, torch.randn(IMAGES, *t.shape[1:]), axes) for n, t, axes in inputs]


def in_mode(module, model):
    """The module as the exported model is trained, and what becomes of its batch normalization."""
    module = copy.deepcopy(module)
    norms = [m for m in module.modules() if is_batch_norm(m)]
    if not norms:
        return module, ""
    if any(n.op_type == "BatchNormalization" for n in onnx.load(model, load_external_data=False).graph.node):
        for m in norms:
            m.train()
        return module, "training"
    from torch.fx.experimental.optimization import fuse
    return fuse(module).requires_grad_(), "fused"  # biases that it adds want no gradient otherwise


def settled(module, inputs, loss, redraw):
    """A batch with its labels, and loss and gradients of PyTorch in float32 and
    in float64. With redraw, batches are drawn until both agree by KINK, which
    they do unless rounding puts them on different sides of a ReLU's kink."""
    exact, args = copy.deepcopy(module).double(), [t for _, t, _ in inputs]
    for _ in range(DRAWS):
        with torch.no_grad():
            out = copy.deepcopy(module)(*args)
        out = out[0] if isinstance(out, tuple) else out
        labels = torch.randn(out.shape) if loss == "mse" else torch.randint(0, out.shape[-1], out.shape[:-1])
        single = reference(module, args, labels, loss)
        double = reference(exact, [a.double() if a.is_floating_point() else a for a in args], labels, loss)
        params = Parameters(module)
        if not redraw or max(r[0] for r in errors(params, double[1], single[1])) < KINK:
            break
        args = [torch.randn_like(a) if a.is_floating_point() else a for a in args]
    return args, labels, single, double


def errors(params, exact, *others):
    """For every parameter the errors of others, relative to its largest gradient."""
    largest, rows = np.abs(exact).max(), []
    for s in params.slices().values():
        scale = np.abs(exact[s]).max()
        scale = largest if scale < ZERO * largest else scale
        rows.append([np.abs(o[s] - exact[s]).max() / scale for o in others] + [scale])
    return rows


def compare(ninox, name, variant, loss, module, inputs, model, folder):
    """One row of the table, its largest error, what is worth a note, and what is missing."""
    torch.manual_seed(2)
    module, mode = in_mode(module, model)
    path, tensors = derive(ninox, model, folder, loss)
    outputs = {o.name for o in onnx.load(path).graph.output}
    params = Parameters(module)
    where = places(params, {n: t for n, t in tensors.items() if n + "_grad" in outputs})
    with torch.no_grad():
        for n, p in params.tensors.items():  # as the exporter rounded what it fused
            if where.get(n) is not None:
                p.copy_(torch.from_numpy(tensors[n]))
    args, labels, (want_loss, want), (exact_loss, exact) = settled(module, inputs, loss, mode == "training")

    got_loss, got = execute(path, tensors, {n: a.numpy() for (n, _, _), a in zip(inputs, args)}, labels.numpy())
    gradients, reached = np.zeros(len(exact)), np.zeros(len(exact), bool)
    for n, at in where.items():
        if at is not None:
            np.add.at(gradients, at, got[n].ravel().astype(np.float64))
            reached[at] = True

    loss_error, rows, missing = abs(got_loss - want_loss) / abs(exact_loss), [], []
    for (n, s), (ninox64, torch64, scale) in zip(params.slices().items(), errors(params, exact, gradients, want)):
        if not reached[s].all() and np.abs(want[s][~reached[s]]).max() > 0:
            missing.append(f"not trained: {n}")
        rows.append((np.abs(gradients[s] - want[s]).max() / scale, ninox64, torch64, n))
    worst = max(rows)
    cells = (name, variant, mode, loss, len(got), loss_error, worst[0], max(r[1] for r in rows), max(r[2] for r in rows), worst[3])
    notes = [f"trained, but no parameter in PyTorch (--freeze leaves it as it is): {n} {list(tensors[n].shape)}" for n, at in where.items() if at is None]
    return cells, max(loss_error, *(min(r[:2]) for r in rows)), notes, missing


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("ninox")
    p.add_argument("networks", nargs="*")
    p.add_argument("--variants", default=",".join(VARIANTS))
    p.add_argument("--losses", default="cross-entropy,mse")
    p.add_argument("--tolerance", type=float, default=1e-5)
    a = p.parse_args()
    torch.set_num_threads(1)
    print(ROW.format(*HEADS))
    failed = 0
    for name in a.networks or NETWORKS:
        torch.manual_seed(1)
        module, inputs, _ = zoo.ZOO[name]()
        module = zoo.randomized(module)
        distinct(module)
        if any(map(is_batch_norm, module.modules())):
            inputs = enlarged(inputs)
        for variant in a.variants.split(","):
            with tempfile.TemporaryDirectory() as tmp:
                model = os.path.join(tmp, "model.onnx")
                try:
                    with zoo.silence(), torch.no_grad():
                        zoo.export(variant, copy.deepcopy(module), inputs, model)
                except Exception as e:
                    print(f"{name} {variant}: torch.onnx refuses: {str(e).strip().splitlines()[0][:200]}", flush=True)
                    continue
                for loss in a.losses.split(","):
                    try:
                        cells, error, notes, faults = compare(a.ninox, name, variant, loss, module, inputs, model, os.path.join(tmp, loss))
                    except RuntimeError as e:
                        failed += 1
                        print(f"{name} {variant} {loss}: {e}", flush=True)
                        continue
                    print(ROW.format(*[f"{c:.1e}" if isinstance(c, float) else c for c in cells]), flush=True)
                    for line in notes + faults:
                        print("    " + line)
                    if faults or not error <= a.tolerance:
                        failed += 1
    print(f"{failed} failed" if failed else f"all within {a.tolerance:.0e}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
