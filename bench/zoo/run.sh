#!/usr/bin/env bash
# Exports the zoo where DIR has none yet, runs ninox over it and writes docs/MODELS.md.
# Usage: PYTHON=/path/to/python bash bench/zoo/run.sh NINOX DIR
# PYTHON is that of an environment with what export.py names at its head.
set -euo pipefail
ninox=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$2"
dir=$(realpath "$2")
ls "$dir"/*.onnx >/dev/null 2>&1 || "${PYTHON:-python3}" "$here/export.py" "$dir"
python3 "$here/table.py" "$ninox" "$dir" --out "$here/../../docs/MODELS.md"
