"""Writes schemas.txt from the installed onnx package: python schemas.py > schemas.txt"""

import collections

import onnx
import onnx.defs

versions = collections.defaultdict(set)
attributes = collections.defaultdict(lambda: collections.defaultdict(set))
for schema in onnx.defs.get_all_schemas_with_history():
    key = f"{schema.domain}:{schema.name}" if schema.domain else schema.name
    versions[key].add(schema.since_version)
    for a in schema.attributes.values():
        kind = {"TYPE_PROTO": "type"}.get(a.type.name, a.type.name.lower())
        attributes[key][a.name].add(kind)

print(f"# Every operator of ONNX, from the schemas of onnx {onnx.__version__} (schemas.py beside this file):")
print("# name, with the domain before it unless that is the default one, since-versions, attributes of any version.")
for key in sorted(versions):
    listed = " ".join(f"{name}:{'|'.join(sorted(kinds))}" for name, kinds in sorted(attributes[key].items()))
    print(key, ",".join(map(str, sorted(versions[key]))), listed)
