#!/bin/bash
# What should become of the optimizer's moments after a nowcast: the last test of fm-16 by policy and seed. Runs that are there are not
# made again.
# moments.sh NINOX WEIGHTS OUT [STEPS [SEEDS [FLAGS…]]], with the data in $NINOX_DATA
set -eu
ninox=$1 weights=$2 out=$3 steps=${4:-4000} seeds=${5:-"1 2 3"}
shift $(($# < 5 ? $# : 5))
for seed in $seeds; do
	for policy in keep reset rescale; do
		dir=$out/$policy-$seed
		[ -e "$dir/summary.json" ] || "$ninox" accelerate fm-16 --data fashion-mnist --weights "$weights" --steps "$steps" --period $((steps / 4)) \
			--moments $policy --safeguard off --no-baseline --quiet --seed "$seed" --out "$dir" --overwrite "$@" >/dev/null
		echo "$policy, seed $seed: $(grep eval_loss "$dir/metrics.jsonl" | tail -n 1)"
	done
done
