#!/usr/bin/env bash
# How many labelled speakers a model that was trained without labels needs: error rates against their number.
# README.md describes the stages; --help lists the options.
set -euo pipefail

# shellcheck source=egs/finetune/path.sh
source "$(dirname "${BASH_SOURCE[0]}")/path.sh"

# ---- options -----------------------------------------------------------------------------------------
stage=0
stop_stage=2
force=false
exp=$here/exp
model=small
data=()
test=()
hold=14
speakers=0,10,25,50,125,all
method=()
set=()
ends=3
between=1
passes=10
minutes=0
seed=0

help_message="usage: $0 --data DIR --test DIR [options]

Fine-tune a model on more and more labelled speakers, from scratch, frozen but for the last layer, with adapters
and in full, and score trials of other speakers.

data
  --data DIR        labelled Kaldi data directory (wav.scp, utt2spk); may be repeated
  --test DIR        data directory of other speakers, with trials; may be repeated
  --hold N          speakers of each --data that no run is trained on; stage 1 scores them, for choices (default $hold)
  --model M         the model (default $model)

what to run
  --stage N         first stage (default $stage)
  --stop_stage N    last stage (default $stop_stage)
                    0 held-out speakers  1 all runs on held-out speakers  2 all runs on --test, table and picture
  --force           run the chosen stages even if nothing has changed (default $force)
  --exp DIR         experiment folder (default $exp)
  --method YAML     a way of using labels; may be repeated (default: all of conf/)
  --minutes N       stop after so many minutes; the next call continues (default $minutes: no end)

how
  --speakers LIST   numbers of labelled speakers (default $speakers)
  --ends N          seeds of the fewest and of all (default $ends)
  --between N       seeds of the others (default $between)
  --passes N        passes over the utterances of a run, at most; 0: all steps of its method (default $passes)
  --set KEY=VALUE   change a setting of all methods; may be repeated
  --seed N          random seed of the held-out speakers (default $seed)

examples
  $0 --data data/train --test data/test --stop_stage 1
  $0 --data data/train --test data/test --stage 2 --minutes 60"
# shellcheck source=tools/parse_options.sh
source "$root/tools/parse_options.sh"
# shellcheck source=tools/recipe.sh
source "$root/tools/recipe.sh"

[ $# -eq 0 ] || fail "unexpected argument '$1' (see --help)"
[ ${#data[@]} -gt 0 ] || fail "--data DIR is needed (see --help)"
[ ${#test[@]} -gt 0 ] || fail "--test DIR is needed (see --help)"
for given in "${data[@]}" "${test[@]}"; do
  [ -d "$given" ] || fail "no such folder: $given"
done
[ ${#method[@]} -gt 0 ] || method=("$here"/conf/*.yaml)
for given in "${method[@]}"; do
  [ -f "$given" ] || fail "no such file: $given"
done

labelled=("${data[@]}")  # begin_experiment gives $data to the folder of the experiment
begin_experiment .

# ---- 0: speakers that nothing is trained on ------------------------------------------------------------------
hold_out() {
  local options=() given
  for given in "${labelled[@]}"; do options+=(--data "$given"); done
  show "$python" "$root/egs/shared/hold_speakers.py" --out "$exp/data" --speakers "$hold" --seed "$seed" "${options[@]}"
}
tables=()
for given in "${labelled[@]}"; do tables+=("$given/utt2spk"); done
run_stage 0 "held-out speakers" hold_out "${tables[@]}" --text "$hold $seed" "$root/egs/shared/hold_speakers.py" \
  --outputs "$exp/data"

# every run is resumable by itself, so that the stage is done when all of its runs are
study() {
  local runs=$1 given options=(--model "$model" --speakers "$speakers" --ends "$ends" --between "$between" --passes "$passes"
    --minutes "$minutes")
  shift
  for given in "$exp"/data/train/*; do options+=(--data "$given"); done
  for given in "$@"; do options+=(--test "$given"); done
  for given in "${method[@]}"; do options+=(--method "$given"); done
  for given in ${set[@]+"${set[@]}"}; do options+=(--set "$given"); done
  show "$python" "$here/local/efficiency.py" --runs "$runs" "${options[@]}"
  show "$python" "$here/local/efficiency_results.py" --runs "$runs" --out "$runs.results"
}

# ---- 1: held-out speakers, for every choice -------------------------------------------------------------------
choose() { study "$exp/hold" "$exp"/data/hold/*; }
run_stage 1 "runs on held-out speakers" choose "${method[@]}" "$here/local/efficiency.py" "$here/local/efficiency_results.py" \
  --text "$model $speakers $ends $between $passes ${set[*]-}" --code sdpn.training --code sdpn.models --outputs "$exp/hold.results"

# ---- 2: the result ----------------------------------------------------------------------------------------------
result() { study "$exp/test" "${test[@]}"; }
run_stage 2 "runs on the test speakers" result "${method[@]}" "$here/local/efficiency.py" "$here/local/efficiency_results.py" \
  --text "$model $speakers $ends $between $passes ${set[*]-}" --code sdpn.training --code sdpn.models --outputs "$exp/test.results"
