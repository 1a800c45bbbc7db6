"""Holds the verdicts of `ninox check` against those of onnx.checker.

    python bench/check_parity.py NINOX FOLDER|BROKEN.txtar...

Takes every .onnx file below the folders, and the models of onnxgraph/check/testdata/broken.txtar, which are
written as texts. Prints where one accepts a model and the other does not; in broken.txtar the difference has
to be announced by a line "# accepted". Exit code 1 if anything differs otherwise.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import onnx

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'


def reference(path):
    try:
        onnx.checker.check_model(str(path), full_check=True)
        return ""
    except Exception as e:
        return str(e).replace("\n", " ")[:300] or repr(e)


def ours(ninox, path):
    run = subprocess.run([ninox, "check", str(path), "--json"], capture_output=True)
    if run.returncode == 0:
        return ""
    if run.returncode != 3:
        raise SystemExit(f"ninox check {path}: exit code {run.returncode}: {run.stderr.decode()}")
    return "; ".join(f["message"] for f in json.loads(run.stdout)["findings"])


def models(source, scratch):
    """Yields name, path and whether a difference is announced."""
    if source.suffix != ".txtar":
        for path in sorted(source.rglob("*.onnx")):
            yield path, path, False
        return
    for name, text in re.findall(r"^-- (\w+) --\n(.*?)(?=^-- |\Z)", source.read_text(), re.M | re.S):
        body = re.sub(r"^#.*\n", "", text, flags=re.M)
        model = onnx.parser.parse_model(body if body.startswith("<") else HEADER + body)
        path = scratch / f"{name}.onnx"
        onnx.save(model, path)
        yield name, path, "# accepted" in text


def main():
    ninox, sources = sys.argv[1], map(pathlib.Path, sys.argv[2:])
    alike = announced = wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        for source in sources:
            for name, path, differs in models(source, pathlib.Path(scratch)):
                a, b = reference(path), ours(ninox, path)
                if (a == "") == (b == "") and not differs:
                    alike += 1
                elif differs and a == "" and b:
                    announced += 1
                else:
                    wrong += 1
                    print(f"{name}\n   onnx.checker: {a or 'accepts'}\n   ninox: {b or 'accepts'}")
    print(f"{alike} verdicts alike, {announced} stricter as announced, {wrong} otherwise")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
