#!/usr/bin/env bash
# The second stage after run.sh: iterative training on pseudo-labels.
# docs/pseudo_labels.md has the results; --help lists the options.
set -euo pipefail

# shellcheck source=egs/mini/path.sh
source "$(dirname "${BASH_SOURCE[0]}")/path.sh"
# shellcheck source=egs/mini/cmd.sh
source "$here/cmd.sh"

# ---- options -----------------------------------------------------------------------------------------
stage=0
stop_stage=1000
force=false
exp=$here/exp/mini
model=
iterations=1
method=auto
config=$root/conf/pseudo.yaml
set=()
seed=0
jobs=1
ngpu=0

help_message="usage: $0 [options]

Iterative training on pseudo-labels: clusters the embeddings of the training data, and trains on the clusters.
Continues an experiment of run.sh: needs EXP/data and EXP/sdpn, and writes to EXP/pseudo; the final model is
EXP/pseudo/<N>/model.

what to run
  --exp DIR         experiment folder of run.sh (default $exp)
  --model DIR       model for the first clustering (default EXP/sdpn/model)
  --iterations N    rounds of clustering and training (default $iterations)
  --stage N         first stage (default $stage)
  --stop_stage N    last stage (default: all)
                    of round i: 4i-3 embeddings  4i-2 clustering  4i-1 training  4i verification; last: the table
  --force           run the chosen stages even if nothing has changed (default $force)

how
  --method M        clustering method: auto, average, kmeans or ahc (default $method)
  --config FILE     training configuration of every round (default $config)
  --set KEY=VALUE   change a setting, such as training.steps=500; may be repeated. Encoder and features default
                    to those of the model
  --seed N          random seed (default $seed)
  --jobs N          batch jobs that embed, run as cmd.sh says (default $jobs: in one process)
  --ngpu N          GPUs of each job (default $ngpu)

examples
  $0 --exp egs/mini/exp/mini
  $0 --exp egs/mini/exp/mini --iterations 2 --set pseudo.above_gate=discard"
# shellcheck source=tools/parse_options.sh
source "$root/tools/parse_options.sh"
# shellcheck source=tools/recipe.sh
source "$root/tools/recipe.sh"

[ $# -eq 0 ] || fail "unexpected argument '$1' (see --help)"
check_jobs
[ "$iterations" -ge 1 ] || fail "--iterations must be at least 1"
model=${model:-$exp/sdpn/model}
[ -d "$exp/data/train" ] || fail "no $exp/data/train: run run.sh --exp '$exp' first"
[ -d "$model" ] || fail "no model at $model: run run.sh --exp '$exp' first, or give --model"
[ -f "$config" ] || fail "no such file: $config"

begin_experiment pseudo
pseudo=$exp/pseudo

parts=()
for part in noise rir; do
  if [ -d "$data/$part" ]; then parts+=("$part"); fi
done
training_settings ${parts[@]+"${parts[@]}"}
if [ -f "$data/dev/trials" ]; then
  watched=("evaluation.data=$data/dev" "evaluation.trials=$data/dev/trials" "evaluation.every=1000")
fi

# ---- of every round; $round is its number, $from its first model, $folder where it goes -------------------
# Training continues where the round before ended: a network that discriminates more speakers finds better
# clusters, and learns more from those.
embed_train() {
  show sdpn pseudo-label --data "$data/train" --write-halves "$folder/halves"
  spread extract --precision fp32 --model "$from" --data "$data/train" --out "$folder/embeddings/whole"
  spread extract --precision fp32 --model "$from" --data "$folder/halves" --out "$folder/embeddings/halves"
}

cluster() {
  local options=(--method "$method")
  local find=(sdpn pseudo-label --embeddings "$folder/embeddings/whole/embeddings.scp"
    --halves "$folder/embeddings/halves/embeddings.scp")
  # the speakers are for the table alone, and some corpora do not tell
  local listed=$data/train/wav.scp
  if [ -f "$data/train/segments" ]; then listed=$data/train/segments; fi
  if [ -f "$data/train/utt2spk" ] && [ "$(wc -l <"$data/train/utt2spk")" -eq "$(wc -l <"$listed")" ]; then
    options+=(--utt2spk "$data/train/utt2spk")
  fi
  show "${find[@]}" --out "$folder/labels" --json "$folder/labels.json" "${options[@]}"
}

train_on_clusters() {
  show sdpn train --config "$config" --data "$data/train" --out "$folder/train" --objective pseudo \
    --labels "$folder/labels" --init "$from" "${settings[@]}" ${watched[@]+"${watched[@]}"}
  learn_back_end "$folder/train/model" "$data/train"
}

verify_dev() {
  spread extract --precision fp32 --model "$folder/train/model" --data "$data/dev" --out "$folder/dev"
  verify "$folder/dev" "$folder/train/model" "$folder/verify"
}

from=$(cd "$model" && pwd)
verified=()
for ((round = 1; round <= iterations; round++)); do
  folder=$pseudo/$round
  first=$((4 * round - 3))
  run_stage $first "round $round: embeddings of the training speech" embed_train --code sdpn.cli.extract \
    --code sdpn.extraction.halves "$from" "$data/train" --outputs "$folder/halves" "$folder/embeddings"
  run_stage $((first + 1)) "round $round: clusters" cluster --text "method=$method" --code sdpn.cli.pseudo_label "$folder/embeddings" \
    --outputs "$folder/labels" "$folder/labels.json"
  run_stage $((first + 2)) "round $round: training on the clusters" train_on_clusters \
    --text "settings=${settings[*]}" --code sdpn.cli.train --code sdpn.cli.backend \
    "$config" "$data/train" "$folder/labels" "$from" ${augmentation_data[@]+"${augmentation_data[@]}"} \
    --outputs "$folder/train/model" --clears "$folder/train"
  if [ -f "$data/dev/trials" ]; then
    run_stage $((first + 3)) "round $round: verification" verify_dev --code sdpn.cli.extract --code sdpn.cli.verify \
      "$folder/train/model" "$data/dev" --outputs "$folder/dev" "$folder/verify.json"
    verified+=("$folder"/verify*.json)
  fi
  from=$folder/train/model
done

# ---- the table ---------------------------------------------------------------------------------------------
write_table() {
  rm -rf "$pseudo/tensorboard"
  show "$python" "$here/local/pseudo_table.py" "$pseudo" --rounds "$iterations" \
    --first "$exp/results/verify.trained.json" --first-back-end "$exp/results/verify.trained-back-end.json" \
    >"$pseudo/table.log"
}
run_stage $((4 * iterations + 1)) "table" write_table "$here/local/pseudo_table.py" "$pseudo"/*/labels.json \
  ${verified[@]+"${verified[@]}"} --outputs "$pseudo/table.txt" "$pseudo/tensorboard"
if [ "$stop_stage" -gt $((4 * iterations)) ]; then
  echo
  cat "$pseudo/table.txt"
  echo
  echo "model:       $from"
  echo "TensorBoard: $pseudo (tensorboard --logdir '$pseudo')"
fi
