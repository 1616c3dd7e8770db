#!/usr/bin/env bash
# Closed-set speaker identification, rung by rung: what each change of the network brings.
# README.md describes the stages; --help lists the options.
set -euo pipefail

# shellcheck source=egs/speaker_id/path.sh
source "$(dirname "${BASH_SOURCE[0]}")/path.sh"
# shellcheck source=egs/speaker_id/cmd.sh
source "$here/cmd.sh"

# ---- options -----------------------------------------------------------------------------------------
stage=0
stop_stage=3
force=false
exp=$here/exp
corpus=()
mels=
rung=()
set=()
seed=0
folds=5
seconds=40.0
tune_seconds=10.0
rates=1e-3,2e-3,4e-3,8e-3
longest=0.0
synthesis=
jobs=1

help_message="usage: $0 [options]

Train every rung of conf/ on every fold for equal time, and compare each with the one that it builds on.

Without --corpus and --mels: on a generated set in the layout of the exercise; nothing is downloaded.

data
  --corpus DIR      speech, DIR/<speaker>/*.{wav,flac,opus,ogg,mp3}; may be repeated. Speakers with fewer
                    utterances than folds are left out
  --longest S       cut utterances to so many seconds (default: no); long ones take most of the time of the test
  --mels DIR        a folder in the exercise's layout: metadata.json, mapping.json, testdata.json and features
  --synthesis 'OPTIONS'  options of local/generate.py, see its --help (default none)

what to run
  --stage N         first stage (default $stage)
  --stop_stage N    last stage (default $stop_stage)
                    0 data  1 all rungs on all folds  2 RESULTS.md  3 last rung on all data, submission.csv
  --force           run the chosen stages even if nothing has changed (default $force)
  --exp DIR         experiment folder (default $exp)
  --rung YAML       a rung; may be repeated, in order (default: all of conf/)

how
  --folds N         number of folds (default $folds)
  --seconds S       CPU time of the training steps of a run (default $seconds)
  --tune_seconds S  the same for each learning rate that is tried (default $tune_seconds)
  --jobs N          train so many rungs at the same time, in jobs, as cmd.sh says (default $jobs)
  --rates LIST      learning rates to choose from (default $rates)
  --set KEY=VALUE   change a setting of all rungs; may be repeated
  --seed N          random seed of the last stage (default $seed)

examples
  $0
  $0 --corpus corpora/mine --seconds 120 --exp exp/mine
  $0 --mels Dataset --set training.batch_size=64"
# shellcheck source=tools/parse_options.sh
source "$root/tools/parse_options.sh"
# shellcheck source=tools/recipe.sh
source "$root/tools/recipe.sh"

[ $# -eq 0 ] || fail "unexpected argument '$1' (see --help)"
[ "$jobs" -ge 1 ] || fail "--jobs must be at least 1"
[ -z "$mels" ] || [ ${#corpus[@]} -eq 0 ] || fail "--mels and --corpus exclude each other"
for given in ${corpus[@]+"${corpus[@]}"} "$mels"; do
  [ -z "$given" ] || [ -d "$given" ] || fail "no such folder: $given"
done
[ ${#rung[@]} -gt 0 ] || rung=("$here"/conf/*.yaml)
for given in "${rung[@]}"; do
  [ -f "$given" ] || fail "no such file: $given"
done

begin_experiment .

# ---- 0: features ---------------------------------------------------------------------------------------
if [ -n "$mels" ]; then
  features=$mels
else
  features=$exp/mels
  prepare_features() {
    if [ ${#corpus[@]} -eq 0 ]; then
      # the words of --synthesis are options, to be split
      # shellcheck disable=SC2086
      show "$python" "$here/local/generate.py" --out "$features" $synthesis
      return
    fi
    local options=() given
    for given in "${corpus[@]}"; do options+=(--corpus "$given"); done
    show "$python" "$here/local/prepare_mels.py" --out "$features" --config "${rung[0]}" --least "$folds" \
      --longest "$longest" "${options[@]}"
  }
  run_stage 0 "features" prepare_features --text "corpora=${corpus[*]-} synthesis=$synthesis folds=$folds longest=$longest" \
    ${corpus[@]+"${corpus[@]}"} "$here/local/generate.py" "$here/local/prepare_mels.py" --code sdpn.features \
    --outputs "$features"
fi

# ---- 1: rungs and folds, resumable run by run -------------------------------------------------------------
climb() {
  local options=(--folds "$folds" --seconds "$seconds" --tune_seconds "$tune_seconds" --rates "$rates") given
  for given in "${rung[@]}"; do options+=(--rung "$given"); done
  for given in ${set[@]+"${set[@]}"}; do options+=(--set "$given"); done
  options+=(--data "$features" --out "$exp/ladder")
  if [ "$jobs" -gt 1 ]; then
    show "$python" "$here/local/climb.py" --jobs "$jobs" "${batch[@]}" -- "${options[@]}"
  fi
  show "$python" "$here/local/ladder.py" "${options[@]}" # after the jobs, nothing is left
}
run_stage 1 "rungs" climb "$features/metadata.json" "$features/mapping.json" "${rung[@]}" \
  "$here/local/ladder.py" "$here/local/study.py" "$here/local/step_time.py" \
  --text "$folds $seconds $tune_seconds $rates ${set[*]-}" --code sdpn.training --code sdpn.models \
  --outputs "$exp/ladder"

# ---- 2: table, intervals, picture ---------------------------------------------------------------------------
compare() {
  show "$python" "$here/local/results.py" --study "$exp/ladder" --conf "$(dirname "${rung[0]}")" --out "$exp/results"
}
run_stage 2 "results" compare "$exp/ladder/runs" "$here/local/results.py" --outputs "$exp/results"

# ---- 3: the exercise's submission -----------------------------------------------------------------------------
if [ -f "$features/testdata.json" ]; then
  last=${rung[${#rung[@]} - 1]}
  submit() {
    show sdpn train --config "$last" --data "$features" --out "$exp/final" --quiet \
      ${set[@]+"${set[@]}"} "training.seed=$seed"
    show "$python" "$here/local/predict.py" --model "$exp/final/model" --data "$features" --out "$exp/submission.csv"
  }
  run_stage 3 "submission of the last rung" submit "$features/metadata.json" "$features/testdata.json" "${rung[@]}" \
    --text "$seed ${set[*]-}" "$here/local/predict.py" --code sdpn.training --code sdpn.models \
    --outputs "$exp/final" "$exp/submission.csv"
fi
