#!/usr/bin/env bash
# Runs the commands of README.md as a newcomer would, but with fewer steps.
# Usage: bash docs/readme-commands.sh NINOX OUTDIR
set -euo pipefail
ninox=$(realpath "$1")
mkdir -p "$2"
cd "$2"
run() { printf '\n$ ninox %s\n' "$*"; "$ninox" "$@"; }

# The demo, a tenth of it.
run accelerate --steps 200 --period 50 --out demo
for f in config.json metrics.jsonl final.onnx final.safetensors summary.json report.html baseline/summary.json; do
  [ -s "demo/$f" ] || { echo "demo/$f is missing"; exit 1; }
done

# The tour, with the model that the demo trained.
model=demo/final.onnx
run graph "$model" --verify
for f in html svg png dot json; do run graph "$model" -o "graph.$f"; [ -s "graph.$f" ]; done
run graph diff "$model" "$model"
run check "$model"
run text "$model" -o model.onnxtxt
run text model.onnxtxt -o again.onnx
run graph diff "$model" again.onnx
run convert "$model" -o new.onnx --opset 21
run weights convert "$model" -o weights.safetensors
run trainable "$model"
run artifacts "$model" -o artifacts --loss cross-entropy --optimizer adam --freeze 'fc.0.*'
run train artifacts --data embedded --steps 20 --batch-size 32 --schedule cosine --out run
run train "$model" --data embedded --steps 20 --lr 1e-3 --keep-states 4,8,12,16,20 --out run-model

# One nowcast over the states of that training, and NiNo for other runtimes.
states=(run-model/states/step_0000{04,08,12,16,20}.safetensors)
run nino step --model "$model" --states "${states[@]}" --k 20 -o next.safetensors
run nino export -o nino.onnx --form tiles --precision int8
for f in next.safetensors nino.onnx; do [ -s "$f" ] || { echo "$f is missing"; exit 1; }; done

# What has been written is never replaced by accident, and a finished run resumes to itself.
if run train artifacts --data embedded --steps 20 --out run; then echo "run was replaced"; exit 1; fi
run train artifacts --data embedded --steps 20 --batch-size 32 --schedule cosine --out run --resume

# A language model on bytes.
for i in $(seq 300); do echo "line $i of a text that has to be long enough for some sequences"; done >prose.txt
run train bytes-3-64 --data text:prose.txt --seq-len 32 --steps 5 --out language

run data list
run version
run completion bash >/dev/null

# NiNo, where weights are at hand.
weights=${NINOX_WEIGHTS:-}
if [ -n "$weights" ]; then
  run nino import "$weights" -o nino.safetensors
  run nino info nino.safetensors
  run accelerate fm-16 --data embedded --weights nino.safetensors --steps 100 --period 50 --no-baseline --out nino
fi
