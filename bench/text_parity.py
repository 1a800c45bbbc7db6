"""Holds `ninox text` against onnx.parser and onnx.printer.

    python bench/text_parity.py NINOX FOLDER...

For every .onnx file below the folders: the text that ninox prints must be read by onnx.parser as the same
model, apart from what the official syntax has no words for; and the text that onnx.printer prints must be
read by ninox as what onnx.parser makes of it. Where onnx.parser does not read what onnx.printer wrote, only
the first half is checked. Exit code 1 if anything differs.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

import onnx
import onnx.external_data_helper
import onnx.parser
import onnx.printer
from onnx import numpy_helper
from onnx.onnx_ml_pb2 import AttributeProto, FunctionProto, GraphProto, ModelProto, TensorProto, TypeProto

# Lists that onnx.parser passes over, and fields without a word in the official syntax.
UNSPOKEN = {
    "NodeProto": ["doc_string", "metadata_props"],
    "ValueInfoProto": ["doc_string", "metadata_props"],
    "GraphProto": ["doc_string", "metadata_props", "quantization_annotation"],
    "TensorProto": ["doc_string", "metadata_props"],
    "FunctionProto": ["metadata_props"],
    "AttributeProto": ["doc_string", "tensors", "graphs", "type_protos", "sparse_tensors"],
    "TypeProto": ["denotation"],
    "ModelProto": ["training_info", "configuration"],
}
DEFAULT_DOMAINS = ("", "ai.onnx")


def normalise(message):
    """Drops what a text cannot say, and writes equal things in one way."""
    for field in UNSPOKEN.get(message.DESCRIPTOR.name, []):
        if field in message.DESCRIPTOR.fields_by_name:
            message.ClearField(field)
    for field, value in list(message.ListFields()):
        if field.message_type is not None:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                normalise(part)
        elif field.name == "domain" and value in DEFAULT_DOMAINS:
            message.ClearField(field.name)
        elif field.name in ("name", "doc_string", "overload", "producer_name", "producer_version", "ref_attr_name", "dim_param") and value == "":
            message.ClearField(field.name)
    if isinstance(message, TensorProto):
        normalise_tensor(message)
    if isinstance(message, GraphProto) and message.sparse_initializer:
        raise NotImplementedError("sparse initializers have no official syntax")
    if isinstance(message, AttributeProto):
        if message.HasField("sparse_tensor"):
            raise NotImplementedError("sparse tensors have no official syntax")
        for part in [message.t] * message.HasField("t") + [message.g] * message.HasField("g"):
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", part.name):
                part.name = re.sub("[^A-Za-z0-9_]", "_", part.name)  # the official syntax has plain identifiers only here
    if isinstance(message, ModelProto) and message.model_version == 0:
        message.ClearField("model_version")
    if isinstance(message, FunctionProto):
        values = sorted(message.value_info, key=lambda v: v.name)
        del message.value_info[:]
        message.value_info.extend(values)
    if "type" in message.DESCRIPTOR.fields_by_name and isinstance(message.type, TypeProto) and message.type.WhichOneof("value") is None:
        message.ClearField("type")
    if message.DESCRIPTOR.name == "Dimension" and (message.dim_value < 0 or message.HasField("dim_param") and not message.dim_param):
        message.Clear()  # how some exporters write an unknown extent


def normalise_tensor(t):
    if t.data_location == TensorProto.EXTERNAL:
        entries = sorted((e.key, e.value) for e in t.external_data)
        del t.external_data[:]
        for key, value in entries:
            t.external_data.add(key=key, value=value)
        return
    t.ClearField("data_location")
    if t.data_type == TensorProto.STRING:
        return
    array = numpy_helper.to_array(t)
    name = t.name
    t.CopyFrom(numpy_helper.from_array(array, name))
    if not name:
        t.ClearField("name")


def ninox_text(ninox, source, *args):
    run = subprocess.run([ninox, "text", str(source), *args], capture_output=True)
    if run.returncode != 0:
        raise RuntimeError("ninox text: " + run.stderr.decode(errors="replace").strip())
    return run.stdout


def equal(a, b):
    return a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True)


def check(ninox, path, folder):
    """Returns (printed, read): whether each half was checked; raises where one fails."""
    want = onnx.load(path, load_external_data=False)
    original = ModelProto()
    original.CopyFrom(want)
    try:
        normalise(want)
    except NotImplementedError:
        return False, False
    got = onnx.parser.parse_model(ninox_text(ninox, path).decode(errors="surrogateescape"))
    normalise(got)
    if not equal(got, want):
        raise RuntimeError("onnx.parser reads another model from the text of ninox")

    official = onnx.printer.to_text(original)
    try:
        want = onnx.parser.parse_model(official)
        normalise(want)
    except Exception:  # what onnx.printer wrote is not what onnx.parser reads, or it left out elements
        return True, False
    source, target = folder / "official.onnxtxt", folder / "model.onnx"
    source.write_text(official)
    ninox_text(ninox, source, "-o", str(target), "--overwrite")
    got = onnx.load(target, load_external_data=False)
    normalise(got)
    if not equal(got, want):
        raise RuntimeError("ninox reads another model from the text of onnx.printer than onnx.parser")
    return True, True


def main():
    ninox, folders = sys.argv[1], sys.argv[2:]
    printed = read = failed = total = 0
    with tempfile.TemporaryDirectory() as scratch:
        for folder in folders:
            for path in sorted(pathlib.Path(folder).rglob("*.onnx")):
                total += 1
                try:
                    a, b = check(ninox, path, pathlib.Path(scratch))
                    printed += a
                    read += b
                except Exception as e:
                    failed += 1
                    print(f"{path}: {type(e).__name__}: {str(e)[:400]}")
    print(f"{total} models: {printed} texts of ninox read by onnx.parser, {read} texts of onnx.printer read by ninox, {failed} failures")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
