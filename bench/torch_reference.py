#!/usr/bin/env python3
"""PyTorch's losses and optimizers in double precision, as the Go tests of package training use them.

    python3 bench/torch_reference.py losses     > training/testdata/torch_losses.json
    python3 bench/torch_reference.py optimizers > training/testdata/torch_optimizers.json

Inputs follow from a formula (splitmix64, see torch_parity.py), so only results
are stored: for every case the loss and its gradient, or the parameters after
five steps. Needs torch and numpy.
"""
import json, sys

import numpy as np
import torch
import torch.nn.functional as F

from torch_parity import splitmix, uniform

LOSSES = [
    ("cross-entropy", {}, [5, 4]),
    ("cross-entropy", {}, [2, 4, 3, 2]),
    ("cross-entropy", {"reduction": "sum"}, [5, 4]),
    ("cross-entropy", {"ignore_index": -100}, [6, 4]),
    ("cross-entropy", {"ignore_index": 1}, [6, 4]),
    ("cross-entropy", {"class_weights": [1, 2.5, 0.25, 0]}, [6, 4]),
    ("cross-entropy", {"class_weights": [1, 2.5, 0.25, 0.5], "reduction": "sum"}, [6, 4]),
    ("cross-entropy", {"label_smoothing": 0.1}, [6, 4]),
    ("cross-entropy", {"label_smoothing": 1}, [6, 4]),
    ("cross-entropy", {"label_smoothing": 0.2, "ignore_index": 2}, [6, 4]),
    ("cross-entropy", {"label_smoothing": 0.2, "ignore_index": 2, "reduction": "sum"}, [6, 4]),
    ("cross-entropy", {"label_smoothing": 0.2, "class_weights": [1, 2.5, 0.25, 0.5]}, [2, 4, 3]),
    ("cross-entropy", {"label_smoothing": 0.2, "class_weights": [1, 2.5, 0.25, 0.5], "ignore_index": -1}, [2, 4, 3, 2]),
    ("mse", {}, [3, 4]),
    ("mse", {"reduction": "sum"}, [3, 4]),
    ("l1", {}, [3, 4]),
    ("l1", {"reduction": "sum"}, [3, 4]),
    ("bce-logits", {}, [3, 4]),
    ("bce-logits", {"pos_weight": [3]}, [3, 4]),
    ("bce-logits", {"pos_weight": [3, 0.5, 1, 0], "reduction": "sum"}, [2, 3, 4]),
]


def loss_case(kind, options, shape):
    n = int(np.prod(shape))
    x = torch.tensor(4 * uniform(0, n).reshape(shape), requires_grad=True)
    reduction = options.get("reduction", "mean")
    if kind == "cross-entropy":
        places = [shape[0]] + shape[2:]
        count = int(np.prod(places))
        y = (splitmix(1 << 20, count) % np.uint64(shape[1])).astype(np.int64)
        ignored = options.get("ignore_index", -100)
        if "ignore_index" in options and not 0 <= ignored < shape[1]:
            y[::3] = ignored
        weight = torch.tensor(options["class_weights"], dtype=torch.float64) if "class_weights" in options else None
        loss = F.cross_entropy(x, torch.tensor(y.reshape(places)), weight=weight, ignore_index=ignored, reduction=reduction,
                               label_smoothing=options.get("label_smoothing", 0))
    else:
        t = torch.tensor((uniform(1 << 20, n).reshape(shape) + 1) / 2)
        if kind == "bce-logits":
            pos = torch.tensor(options["pos_weight"], dtype=torch.float64) if "pos_weight" in options else None
            loss = F.binary_cross_entropy_with_logits(x, t, pos_weight=pos, reduction=reduction)
        else:
            loss = {"mse": F.mse_loss, "l1": F.l1_loss}[kind](x, t, reduction=reduction)
    loss.backward()
    return {"loss": kind, "options": options, "shape": shape, "value": loss.item(), "grad": x.grad.flatten().tolist()}


# The configuration as ninox writes it, and the same for PyTorch.
OPTIMIZERS = [
    ("kind=sgd", torch.optim.SGD, {}),
    ("kind=sgd momentum=0.9 weight_decay=0.1", torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    ("kind=sgd momentum=0.9 dampening=0.3", torch.optim.SGD, {"momentum": 0.9, "dampening": 0.3}),
    ("kind=sgd momentum=0.8 nesterov=true weight_decay=0.1", torch.optim.SGD, {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    ("kind=adam", torch.optim.Adam, {}),
    ("kind=adam weight_decay=0.2 beta1=0.8 beta2=0.95 epsilon=0.001", torch.optim.Adam, {"weight_decay": 0.2, "betas": (0.8, 0.95), "eps": 1e-3}),
    ("kind=adamw", torch.optim.AdamW, {"weight_decay": 0}),
    ("kind=adamw weight_decay=0.1", torch.optim.AdamW, {"weight_decay": 0.1}),
    ("kind=muon weight_decay=0.1", torch.optim.Muon, {"weight_decay": 0.1}),
    ("kind=muon momentum=0.8 plain_momentum=true", torch.optim.Muon, {"momentum": 0.8, "nesterov": False, "weight_decay": 0}),
    ("kind=muon adjust=match-rms-adamw", torch.optim.Muon, {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0}),
]
SHAPES, STEPS = [[3, 4], [5, 2]], 5


def optimizer_case(config, kind, options):
    # Muon orthogonalises in bfloat16; the reference is to be exact.
    bfloat16, torch.bfloat16 = torch.bfloat16, torch.float64
    at, params = 0, []
    for shape in SHAPES:
        n = int(np.prod(shape))
        params.append(torch.nn.Parameter(torch.tensor(uniform(at, n).reshape(shape))))
        at += n
    opt = kind(params, lr=0.1, **options)
    for step in range(1, STEPS + 1):
        for group in opt.param_groups:
            group["lr"] = 0.1 / step
        for p in params:
            p.grad = torch.tensor(uniform(at, p.numel()).reshape(p.shape))
            at += p.numel()
        opt.step()
    torch.bfloat16 = bfloat16
    return {"config": config, "params": [p.detach().flatten().tolist() for p in params]}


def main():
    cases = {"losses": (LOSSES, loss_case), "optimizers": (OPTIMIZERS, optimizer_case)}
    if len(sys.argv) != 2 or sys.argv[1] not in cases:
        sys.exit(__doc__)
    table, case = cases[sys.argv[1]]
    lines = [json.dumps(case(*row)) for row in table]
    print("[\n" + ",\n".join(lines) + "\n]")


if __name__ == "__main__":
    main()
