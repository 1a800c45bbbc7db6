"""Writes the backend test cases of the installed onnx package as files.

    python bench/node_cases.py FOLDER
    NINOX_ONNX_TESTDATA=FOLDER go test ./onnxgraph/conformance

The package generates the cases of operators at run time and ships none of them;
onnx.backend.test.cmd_tools writes those of models only. FOLDER gets the layout of
Debian's libonnx-testdata: KIND/NAME/model.onnx and KIND/NAME/test_data_set_N/*.pb.
"""

import itertools
import pathlib
import sys

import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case import model as models
from onnx.backend.test.case import node as nodes

ENCODERS = {
    "map_type": numpy_helper.from_dict,
    "sequence_type": numpy_helper.from_list,
    "optional_type": numpy_helper.from_optional,
    "tensor_type": numpy_helper.from_array,
}


def encode(value, declared: onnx.ValueInfoProto) -> bytes:
    """The message that the type of the graph's input or output asks for."""
    if isinstance(value, TensorProto):
        return value.SerializeToString()
    kind = declared.type.WhichOneof("value")
    return ENCODERS[kind](value, declared.name).SerializeToString()


def write(case, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())
    graph = case.model.graph
    for n, (inputs, outputs) in enumerate(case.data_sets):
        data = folder / f"test_data_set_{n}"
        data.mkdir(exist_ok=True)
        for side, values, declared in (("input", inputs, graph.input), ("output", outputs, graph.output)):
            for i, value in enumerate(values):
                (data / f"{side}_{i}.pb").write_bytes(encode(value, declared[i]))


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[1])
    counts: dict[str, int] = {}
    for case in itertools.chain(models.collect_testcases(), nodes.collect_testcases(None)):
        if case.model is None or not case.data_sets:
            continue  # models to be downloaded
        try:
            write(case, root / case.kind / case.name)
        except (KeyError, TypeError, ValueError, NotImplementedError) as e:
            print(f"{case.name}: {type(e).__name__}: {e}", file=sys.stderr)
            continue
        counts[case.kind] = counts.get(case.kind, 0) + 1
    print(f"onnx {onnx.__version__}: {counts} in {root}")


if __name__ == "__main__":
    main()
