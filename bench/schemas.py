"""Writes onnxgraph/schema/operators.txt: the operator schemas of the ONNX specification as data.

    python bench/schemas.py > onnxgraph/schema/operators.txt

Needs the package onnx. The format is described at the head of the file.
"""

import collections

import onnx
from onnx import defs

HEAD = f"""# The operator schemas of the ONNX specification, from onnx {onnx.__version__} (python bench/schemas.py).
#
# "domain D" begins a domain. Other lines are "Name Version, inputs > outputs, attributes, constraints", or
# "Name Version deprecated". An input or output is name:type; behind the type, ? marks an optional one, *n a
# variadic one of at least n values, and ~n one whose values may differ in type. Types in capitals have a
# constraint, the others stand for themselves. An attribute is name:type, with ! where it is required. A
# constraint is Name=set; sets have a number, and are listed first. In types, tensor(x) is written x.
"""


def short(s):
    """tensor(float) -> float, seq(tensor(float)) -> seq(float), map(int64,tensor(float)) -> map(int64,float)."""
    s = s.replace(" ", "")
    out, depth = [], []
    i = 0
    while i < len(s):
        if s.startswith("sparse_tensor(", i):
            out.append("sparse_tensor(")
            depth.append(True)
            i += len("sparse_tensor(")
        elif s.startswith("tensor(", i):
            depth.append(False)
            i += len("tensor(")
        elif s[i] == "(":
            out.append("(")
            depth.append(True)
            i += 1
        elif s[i] == ")":
            if depth.pop():
                out.append(")")
            i += 1
        else:
            out.append(s[i])
            i += 1
    return "".join(out)


def parameter(p, minimum):
    option = {p.option.Single: "", p.option.Optional: "?", p.option.Variadic: "*" if p.is_homogeneous else "~"}[p.option]
    if option in ("*", "~"):
        option += str(minimum)
    return f"{p.name or '_'}:{short(p.type_str)}{option}"


def attribute(a):
    kind = a.type.name.lower()
    return f"{a.name}:{kind}{'!' if a.required else ''}"


def main():
    schemas = sorted(defs.get_all_schemas_with_history(), key=lambda s: (s.domain, s.name, s.since_version))
    count = collections.Counter(tuple(sorted(map(short, c.allowed_type_strs))) for s in schemas for c in s.type_constraints)
    numbers = {types: i for i, types in enumerate(sorted(count))}
    print(HEAD)
    for types, i in numbers.items():
        print(f"set {i} {' '.join(types)}")
    domain = None
    for s in schemas:
        if s.domain != domain:
            domain = s.domain
            print(f"domain {domain or 'ai.onnx'}")
        if s.deprecated:
            print(f"{s.name} {s.since_version} deprecated")
            continue
        inputs = " ".join(parameter(p, max(0, s.min_input - len(s.inputs) + 1)) for p in s.inputs)
        outputs = " ".join(parameter(p, max(0, s.min_output - len(s.outputs) + 1)) for p in s.outputs)
        attributes = " ".join(attribute(a) for _, a in sorted(s.attributes.items()))
        used = {p.type_str for p in [*s.inputs, *s.outputs]}
        constraints = " ".join(
            f"{c.type_param_str}={numbers[tuple(sorted(map(short, c.allowed_type_strs)))]}" for c in s.type_constraints if c.type_param_str in used
        )
        print(f"{s.name} {s.since_version}, {inputs} > {outputs}, {attributes}, {constraints}".replace("  ", " "))


if __name__ == "__main__":
    main()
