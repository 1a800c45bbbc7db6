"""Where onnx.shape_inference knows more about a value than ninox does.

    python bench/infer_parity.py FILE_OR_FOLDER...

Infers every model (strict mode, data propagation) with both, the types that files
declare for anything but inputs and parameters removed, and lists the values of the main
graph of which Python knows the element type, the rank or an extent and ninox does not,
or on which the two disagree. Needs the onnx package, and Go.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys

import onnx

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMES = {v: k.lower() for k, v in onnx.TensorProto.DataType.items()}


def models(paths):
    for p in map(pathlib.Path, paths):
        yield from sorted(p.rglob("*.onnx")) if p.is_dir() else [p]


def bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without declared types of results. Bodies keep those of their outputs, which onnx asks for."""

    def strip(graph):
        del graph.value_info[:]
        for node in graph.node:
            for a in node.attribute:
                for body in [a.g] if a.HasField("g") else a.graphs:
                    del body.value_info[:]
                    strip(body)

    strip(model.graph)
    for output in model.graph.output:
        output.ClearField("type")
    return model


def described(t: onnx.TypeProto) -> dict:
    """A type in the form of the command inferred."""
    kind = t.WhichOneof("value")
    if kind in ("sequence_type", "optional_type"):
        return {"kind": kind[:-5], "elem": described(getattr(t, kind).elem_type), "dims": [], "ranked": False}
    if kind != "tensor_type":
        return {"kind": (kind or "")[:-5], "dims": [], "ranked": False}
    tensor = t.tensor_type
    dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim]
    return {"kind": "tensor", "dtype": NAMES[tensor.elem_type] if tensor.elem_type else "", "dims": dims, "ranked": tensor.HasField("shape")}


def findings(theirs: dict, ours: dict):
    """What theirs states and ours does not, or states otherwise."""
    if theirs["kind"] and ours["kind"] != theirs["kind"]:
        yield f"kind {theirs['kind']}"
        return
    if theirs.get("elem"):
        yield from findings(theirs["elem"], ours.get("elem") or {"kind": "", "dims": [], "ranked": False})
    if theirs.get("dtype") and theirs["dtype"] != ours.get("dtype"):
        yield f"element type {theirs['dtype']}"
    if not theirs["ranked"]:
        return
    if not ours["ranked"]:
        yield f"rank {len(theirs['dims'])}"
    elif len(theirs["dims"]) != len(ours["dims"]):
        yield f"rank {len(theirs['dims'])}, here {len(ours['dims'])}"
    else:
        for a, (x, y) in enumerate(zip(theirs["dims"], ours["dims"])):
            if isinstance(x, int) and x >= 0 and x != y:  # some files declare -1
                yield f"axis {a} is {x}, here {y}"


def known(t: dict) -> int:
    """How many facts a type states."""
    n = bool(t.get("dtype")) + bool(t["ranked"]) + sum(isinstance(d, int) for d in t["dims"])
    return n + (known(t["elem"]) if t.get("elem") else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+")
    files = [str(f.resolve()) for f in models(parser.parse_args().paths)]
    done = subprocess.run(["go", "run", "./onnxgraph/conformance/inferred"], cwd=ROOT, input="\n".join(files), capture_output=True, text=True, check=True)
    ours = {r["file"]: r for r in map(json.loads, done.stdout.splitlines())}

    counts = collections.Counter()
    for file in files:
        model = onnx.load(file)
        graph = bare(model).graph
        try:
            inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        except Exception as e:  # noqa: BLE001 - whatever onnx raises, the model is counted and left
            counts["models that onnx refuses"] += 1
            print(f"{file}: onnx: {str(e).splitlines()[0][:160]}" if not ours[file].get("error") else f"{file}: both refuse")
            continue
        if ours[file].get("error"):
            counts["models that ninox refuses"] += 1
            print(f"{file}: ninox: {ours[file]['error']}")
            continue
        counts["models"] += 1
        results = {o for node in graph.node for o in node.output if o}
        for v in {v.name: v for v in [*inferred.value_info, *inferred.output]}.values():
            if v.name not in results:
                continue
            mine = ours[file]["types"].get(v.name)
            if mine is None:
                continue  # within a function that was inlined
            theirs = described(v.type)
            counts["values"] += 1
            counts["facts known to onnx"] += known(theirs)
            counts["facts known to ninox"] += known(mine)
            for f in findings(theirs, mine):
                counts["facts that ninox lacks"] += 1
                print(f"{file}: {v.name}: {f}")
    for what, n in counts.items():
        print(f"{n:8} {what}", file=sys.stderr)


if __name__ == "__main__":
    main()
