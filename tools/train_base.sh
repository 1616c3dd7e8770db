#!/usr/bin/env bash
# Trains 'base' without labels or a teacher, within ten minutes of one GPU; docs/base.md describes it, --help
# lists the options.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)

# ---- options -----------------------------------------------------------------------------------------
minutes=10
steps=0
second_steps=-1
probe_steps=60
config=$root/conf/base.yaml
second_config=$root/conf/base_pseudo.yaml
set=()
second_set=()
benchmark=
workers=$(($(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) - 1))
seed=0

help_message="usage: $0 [options] DATA OUT

Trains ECAPA-512 without labels or a teacher on packed speech: SDPN, then a second stage on clusters of its own
embeddings, then a back end. OUT/model is the result, with weights of 16 bits. The same command continues an
interrupted run.

DATA is a pack (sdpn pack) or data directory, or a folder of several; its subfolders noise, music and rir, if
there are any, are data directories (or packs) for the augmentation.

time
  --minutes N       what all may take (default $minutes). A probe measures the time of a step, and so finds how
                    many fit; should they take longer after all, the run saves its state and stops
  --steps N         steps of the first stage, instead (default $steps: found by the probe)
  --second_steps N  steps of the second stage; 0 leaves it out (default $second_steps: what the time left allows)
  --probe_steps N   steps of the probe (default $probe_steps)

how
  --config FILE     configuration of the first stage (default $config)
  --second_config FILE   of the second one (default $second_config)
  --set KEY=VALUE   change a value of the first stage, such as training.batch_size=64; may be repeated
  --second_set KEY=VALUE    the same of the second one; may be repeated
  --workers N       loader processes (default: processors less one, here $workers)
  --seed N          of everything random (default $seed)
  --benchmark DIR   finally run 'sdpn benchmark' on these corpora; it is not part of --minutes

examples
  sdpn pack --data data/train --out packs/train
  $0 packs/train exp/base
  $0 --minutes 30 --benchmark corpora packs exp/base"
# shellcheck source=tools/parse_options.sh
source "$root/tools/parse_options.sh"
# shellcheck source=tools/recipe.sh
source "$root/tools/recipe.sh"

[ $# -eq 2 ] || fail "expected DATA and OUT after the options (see --help)"
[ "$minutes" -ge 1 ] || fail "--minutes must be at least 1"
[ "$probe_steps" -ge 4 ] || fail "--probe_steps must be at least 4"
for file in "$config" "$second_config"; do
  [ -f "$file" ] || fail "no such file: $file"
done
[ -d "$1" ] || fail "no such folder: $1"
[ -z "$benchmark" ] || [ -d "$benchmark" ] || fail "no such folder: $benchmark"
packs=$(cd "$1" && pwd)
exp=$2
find_sdpn
mkdir -p "$exp/data"
exp=$(cd "$exp" && pwd)
data=$exp/data

# Asks this script to stop when the time is up, as Ctrl-C does: training saves its state.
"$python" -c 'import os, signal, sys, time
time.sleep(60 * int(sys.argv[1]))
os.kill(int(sys.argv[2]), signal.SIGUSR1)' "$minutes" $$ </dev/null >/dev/null 2>&1 3>&- &
watchdog=$!
forget_time() {
  if [ -n "$watchdog" ]; then kill "$watchdog" 2>/dev/null || true; fi
  watchdog=
}
trap forget_time EXIT

# Seconds until the time is up.
left() {
  echo $((60 * minutes - SECONDS))
}

# ---- the speech ------------------------------------------------------------------------------------------
# One data directory: several are packed into one, which copies their bytes and takes seconds.
link() {
  ln -sfn "$1" "$data/$2"
}

parts=()
if [ -f "$packs/wav.scp" ]; then
  link "$packs" train
else
  corpora=()
  for folder in "$packs"/*/; do
    name=$(basename "$folder")
    [ -f "$folder/wav.scp" ] || continue
    case $name in
      noise | music | rir)
        link "${folder%/}" "$name"
        parts+=("$name")
        ;;
      *) corpora+=(--data "${folder%/}") ;;
    esac
  done
  [ ${#corpora[@]} -gt 0 ] || fail "neither $packs nor a folder in it holds speech: there is no wav.scp"
  if [ ${#corpora[@]} -eq 2 ]; then
    link "${corpora[1]}" train
  else
    show sdpn pack "${corpora[@]}" --out "$data/speech"
    link "$data/speech" train
  fi
fi

# ---- how many steps ----------------------------------------------------------------------------------------
# Decided once: the learning rate follows the number of steps, and a continued run has to find the same. An eighth of
# the time and a minute are for clusters, back end and whatever takes longer than foreseen.
training_settings ${parts[@]+"${parts[@]}"}
first=(--config "$config" --data "$data/train" "training.workers=$workers" "${settings[@]}")

# Sets $decided to a number that is decided once and kept in the file $1; the function $2 sets it before.
decide() {
  local file=$exp/plan/$1
  if [ ! -s "$file" ]; then
    mkdir -p "$exp/plan"
    "$2"
    echo "$decided" >"$file.tmp"
    mv "$file.tmp" "$file"
  fi
  decided=$(<"$file")
  echo "$1 stage: $decided steps"
}

# Milliseconds of a step of the run in $1, by its curves: without its first point, which waits for the loaders.
step_ms() {
  "$python" -c 'import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
points = EventAccumulator(sys.argv[1]).Reload().Scalars("train/step_s")
first, last = points[0], points[-1]
print(max(1, round(1000 * (last.wall_time - first.wall_time) / (last.step - first.step))))' "$1/tensorboard"
}

first_steps() {
  decided=$steps
  [ "$steps" -eq 0 ] || return 0
  rm -rf "$exp/probe"
  show sdpn train "${first[@]}" --out "$exp/probe" "training.steps=$probe_steps" \
    "training.log_every=$((probe_steps / 4))"
  local ms seconds
  ms=$(step_ms "$exp/probe")
  seconds=$(($(left) * 7 / 8 - 60))
  [ "$second_steps" -eq 0 ] || seconds=$((seconds * 3 / 4))
  rm -rf "$exp/probe"
  decided=$((1000 * seconds / ms))
  [ "$decided" -ge 100 ] \
    || fail "a step takes $ms ms: --minutes $minutes are too few for 100 of them (give more, or --steps)"
}
decide first first_steps

# ---- first stage: SDPN -------------------------------------------------------------------------------------
show sdpn train "${first[@]}" --out "$exp/sdpn" "training.steps=$decided"
result=$exp/sdpn/model

# ---- second stage: clusters of its embeddings ------------------------------------------------------------------
# A step of it hears one crop of 2 s instead of 9 s in all: it takes less than half of the time.
second_stage_steps() {
  decided=$second_steps
  [ "$second_steps" -lt 0 ] || return 0
  local ms seconds
  ms=$(step_ms "$exp/sdpn")
  seconds=$(($(left) * 7 / 8 - 60))
  decided=$((2 * 1000 * seconds / ms))
  [ "$decided" -ge 200 ] || decided=0
}
decide second second_stage_steps
if [ "$decided" -gt 0 ]; then
  given=(--exp "$exp" --config "$second_config" --seed "$seed")
  for setting in "training.workers=$workers" ${second_set[@]+"${second_set[@]}"} "training.steps=$decided"; do
    given+=(--set "$setting")
  done
  show "$root/egs/mini/run_pseudo.sh" "${given[@]}"
  result=$exp/pseudo/1/train/model
elif [ ! -f "$result/back_end.safetensors" ]; then
  learn_back_end "$result" "$data/train"
fi

# ---- what is kept ------------------------------------------------------------------------------------------
[ -d "$exp/model" ] || show sdpn convert --model "$result" --half --out "$exp/model"
forget_time
echo "model: $exp/model, after $SECONDS s"
if [ -n "$benchmark" ]; then
  show sdpn benchmark --data "$benchmark" --model "$exp/model" --out "$exp/benchmark" --json "$exp/benchmark.json"
fi
