#!/usr/bin/env bash
# The gap study at a CPU's budget: three sizes of res-hyper and a res-context, their bounds, the report, and the bound
# of the shipped pack. Every step goes on where it stopped.
#   DATA=photos VAL=held-out DATA_DIR=sets ANCHOR=vtm.json studies/gap/run.sh
set -euo pipefail
runs="runs/gap"
mkdir -p "$runs"
data=(--data "$DATA" --val "$VAL" ${CACHE:+--cache "$CACHE"})
measure=(--dataset kodak --data-dir "$DATA_DIR" --anchor "$ANCHOR" --threads "${THREADS:-1}")

codec() { # name, options of the network
    name=$1
    shift
    [ -e "$runs/$name.rgm" ] || regcodec train "$@" "${data[@]}" --run "$runs/$name" -o "$runs/$name.rgm" \
        --rates 0.0018,0.0054,0.0162,0.0483 --latent-width 256 --hyper-width 128 \
        --crop 128 --batch 8 --lr 5e-4 --warmup 100 --steps 1500 --validate-every 1500 --save-every 250
}
bound() { # name, pack, learning rate
    regcodec study bound --init "$2" "${data[@]}" --run "$runs/bound-$1" \
        --crop 128 --batch 8 --lr "$3" --warmup 50 --steps 400 --validate-every 400 --save-every 100
}

codec small --arch res-hyper --width 64 --blocks-analysis 1 --blocks-synthesis 2
codec middle --arch res-hyper --width 128 --blocks-analysis 4 --blocks-synthesis 6
codec large --arch res-hyper --width 192 --blocks-analysis 7 --blocks-synthesis 10
codec context --arch res-context --width 192 --blocks-analysis 7 --blocks-synthesis 10 --context-width 128 --blocks-context 2
for name in small middle large context; do
    bound "$name" "$runs/$name.rgm" 2e-4
done
regcodec study gap studies/gap/plan.toml "${measure[@]}" -o "$runs/report"

bound shipped res-context-vanilla 1e-4
regcodec study bound --run "$runs/bound-shipped" "${measure[@]}" --anchor res-context-vanilla --samples 2 -o "$runs/shipped"
