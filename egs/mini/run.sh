#!/usr/bin/env bash
# From recordings to "who spoke when" and its error rate, with speaker embeddings learned without labels.
# README.md beside this file says what each stage does; --help lists the options.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

# ---- options -----------------------------------------------------------------------------------------
stage=0
stop_stage=6
force=false
corpus=()
dev=
trials=
meetings=
noise=
rir=
exp=
config=
set=()
seed=0
collar=0.0
synthesis=
nj=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

help_message="usage: $0 [options]

Without --corpus: synthesises speakers and conversations, and runs on those. No download.
With --corpus: runs on your recordings. Parts without data are left out: verification needs --dev and
--trials, diarization needs --meetings.

data
  --corpus DIR      training speech, DIR/<speaker>/*.{wav,flac,opus,ogg,mp3}; may be repeated. The speakers'
                    names only make ids: training does not look at them
  --dev DIR         speakers that are in no --corpus, in the same layout
  --trials FILE     verification trials on --dev: '1|0 utt utt' or 'utt utt target|nontarget'
  --meetings DIR    recordings with reference.rttm and, optionally, reference.uem
  --noise DIR       noise recordings for augmentation, at any depth
  --rir DIR         room impulse responses for augmentation, at any depth

what to run
  --stage N         first stage (default $stage)
  --stop_stage N    last stage (default $stop_stage)
                    0 data  1 training  2 embeddings  3 verification  4 diarization  5 DER  6 report
  --force           run the chosen stages even if nothing has changed (default $force)
  --exp DIR         where everything goes (default $here/exp/mini, without --corpus $here/exp/demo)

how
  --config FILE     training configuration (default $root/conf/mini.yaml, without --corpus conf/demo.yaml)
  --set KEY=VALUE   change one of its values, such as training.steps=500; may be repeated
  --seed N          of everything random (default $seed)
  --collar S        seconds forgiven on each side of a reference boundary (default $collar)
  --synthesis 'OPTIONS'  for local/synthesise.py, which has its own --help (default none)
  --nj N            processes that prepare data (default: processors, here $nj)

examples
  $0
  $0 --corpus corpora/vox/train --corpus corpora/mine --meetings corpora/ami --stop_stage 5
  $0 --stage 4 --force"
# shellcheck source=tools/parse_options.sh
source "$root/tools/parse_options.sh"
# shellcheck source=tools/recipe.sh
source "$root/tools/recipe.sh"

[ $# -eq 0 ] || fail "unexpected argument '$1' (see --help)"
if [ ${#corpus[@]} -eq 0 ]; then
  for given in "$dev" "$trials" "$meetings" "$noise" "$rir"; do
    [ -z "$given" ] || fail "'$given' needs a --corpus to train on (see --help)"
  done
  exp=${exp:-$here/exp/demo}
  config=${config:-$root/conf/demo.yaml}
else
  exp=${exp:-$here/exp/mini}
  config=${config:-$root/conf/mini.yaml}
fi
for given in ${corpus[@]+"${corpus[@]}"} "$dev" "$meetings" "$noise" "$rir"; do
  [ -z "$given" ] || [ -d "$given" ] || fail "no such folder: $given"
done
for given in "$trials" "$config"; do
  [ -z "$given" ] || [ -f "$given" ] || fail "no such file: $given"
done
if [ -n "$dev" ] && [ -z "$trials" ]; then fail "--dev needs --trials"; fi
if [ -n "$trials" ] && [ -z "$dev" ]; then fail "--trials needs --dev"; fi

find_sdpn

mkdir -p "$exp"
exp=$(cd "$exp" && pwd)
claim "$exp"
data=$exp/data
# shellcheck disable=SC2034  # read by stages.sh
stage_markers=$exp/.stages
# shellcheck source=tools/stages.sh
source "$root/tools/stages.sh"

# ---- 0: corpus folders -> validated Kaldi data directories ----------------------------------------------
# data/train {wav.scp, utt2spk, spk2utt}, data/dev with trials, data/meetings with the reference, data/noise,
# data/rir. The data directories live below --exp, so that two experiments never share one by accident.
if [ ${#corpus[@]} -eq 0 ]; then
  synthetic=$exp/synthetic
  corpus=("$synthetic/train")
  dev=$synthetic/dev trials=$synthetic/trials meetings=$synthetic/meetings
  noise=$synthetic/noise rir=$synthetic/rir
  data_inputs=(--text "synthesis=$synthesis $seed")
  data_outputs=("$synthetic" "$data")
else
  synthetic=
  # the names count beside the contents, since ids are made of them
  data_inputs=(--text "corpora=${corpus[*]}" "${corpus[@]}")
  for given in "$dev" "$trials" "$meetings" "$noise" "$rir"; do
    data_inputs+=(--text "folder=$given")
    [ -z "$given" ] || data_inputs+=("$given")
  done
  data_outputs=("$data")
fi

prepare_data() {
  if [ -n "$synthetic" ]; then
    # the words of --synthesis are options, to be split
    # shellcheck disable=SC2086
    show "$python" "$here/local/synthesise.py" --out "$synthetic" --seed "$seed" --nj "$nj" $synthesis
  fi
  local options=() given
  for given in "${corpus[@]}"; do options+=(--corpus "$given"); done
  if [ -n "$dev" ]; then options+=(--dev "$dev" --trials "$trials"); fi
  if [ -n "$meetings" ]; then options+=(--meetings "$meetings"); fi
  if [ -n "$noise" ]; then options+=(--noise "$noise"); fi
  if [ -n "$rir" ]; then options+=(--rir "$rir"); fi
  show "$python" "$here/local/prepare_data.py" --out "$data" --nj "$nj" "${options[@]}"
}
run_stage 0 "data preparation" prepare_data "${data_inputs[@]}" "$here/local" --code sdpn.io \
  --outputs "${data_outputs[@]}"

# ---- 1: training without labels ----------------------------------------------------------------------------
# exp/sdpn is the trained network; exp/untrained is the same network before its first step, the baseline that
# shows what training has taught. An interrupted training resumes from its last checkpoint.
settings=(${set[@]+"${set[@]}"} "training.seed=$seed")
augmentation_data=()
if [ -n "$noise" ]; then settings+=("augmentation.noise=$data/noise") augmentation_data+=("$data/noise"); fi
if [ -n "$rir" ]; then settings+=("augmentation.rir=$data/rir") augmentation_data+=("$data/rir"); fi

# The dev trials are scored now and then for the dashboard; nothing of it reaches the training.
watched=()
if [ -n "$dev" ]; then
  watched=("evaluation.data=$data/dev" "evaluation.trials=$data/dev/trials" "evaluation.every=400")
fi

train_networks() {
  show sdpn train --config "$config" --data "$data/train" --out "$exp/untrained" "${settings[@]}" training.steps=0
  show sdpn train --config "$config" --data "$data/train" --out "$exp/sdpn" "${settings[@]}" \
    ${watched[@]+"${watched[@]}"}
  learn_back_end "$exp/sdpn/model" "$data/train"
}
run_stage 1 "training without labels" train_networks --text "settings=${settings[*]}" \
  --code sdpn.cli.train --code sdpn.cli.backend \
  "$config" "$data/train" ${augmentation_data[@]+"${augmentation_data[@]}"} \
  --outputs "$exp/sdpn/model" "$exp/untrained/model" --clears "$exp/sdpn" "$exp/untrained"

# ---- 2: embeddings of the dev speakers to Kaldi ark/scp ---------------------------------------------------
# fp32 on every machine: left to itself, extract takes bf16 where that is faster, and the EER moves a little.
embed_dev() {
  show sdpn extract --precision fp32 --model "$exp/sdpn/model" --data "$data/dev" --out "$exp/embeddings/trained"
  show sdpn extract --precision fp32 --model "$exp/untrained/model" --data "$data/dev" --out "$exp/embeddings/untrained"
}
# ---- 3: verification, EER and minDCF on speakers that training never saw --------------------------------
verify_dev() {
  local label
  for label in trained untrained; do
    show sdpn verify --trials "$data/dev/trials" --embeddings "$exp/embeddings/$label/embeddings.scp" \
      --json "$exp/results/verify.$label.json"
  done
  if [ -f "$exp/sdpn/model/back_end.safetensors" ]; then
    show sdpn verify --trials "$data/dev/trials" --embeddings "$exp/embeddings/trained/embeddings.scp" \
      --back-end "$exp/sdpn/model" --json "$exp/results/verify.trained-back-end.json"
  fi
}
if [ -n "$dev" ]; then
  run_stage 2 "embeddings" embed_dev --code sdpn.cli.extract \
    "$exp/sdpn/model" "$exp/untrained/model" "$data/dev" \
    --outputs "$exp/embeddings/trained" "$exp/embeddings/untrained"
  run_stage 3 "verification" verify_dev --code sdpn.cli.verify \
    "$exp/embeddings" "$data/dev/trials" "$exp/sdpn/model" \
    --outputs "$exp/results/verify.trained.json" "$exp/results/verify.untrained.json"
else
  echo "stages 2 and 3: left out, there is no --dev"
fi

# ---- 4: diarization, recordings -> RTTM ------------------------------------------------------------------
# Three systems: the trained network, the untrained one, and "everything is one speaker", which costs nothing
# and scores well wherever one person does most of the talking.
diarize_meetings() {
  local recordings
  mapfile -t recordings < <(cut -d' ' -f2- "$data/meetings/wav.scp")
  show sdpn diarize --model "$exp/sdpn/model" --out "$exp/rttm/trained" \
    --json "$exp/results/diarize.trained.json" "${recordings[@]}"
  show sdpn diarize --model "$exp/untrained/model" --out "$exp/rttm/untrained" \
    --json "$exp/results/diarize.untrained.json" "${recordings[@]}"
  show sdpn diarize --model "$exp/sdpn/model" --num-speakers 1 --out "$exp/rttm/one-speaker" \
    --json "$exp/results/diarize.one-speaker.json" "${recordings[@]}"
}
# ---- 5: DER ----------------------------------------------------------------------------------------------
score_meetings() {
  local label options=()
  if [ -f "$data/meetings/reference.uem" ]; then options+=(--uem "$data/meetings/reference.uem"); fi
  for label in trained untrained one-speaker; do
    show sdpn score --ref "$data/meetings/reference.rttm" --hyp "$exp/rttm/$label"/*.rttm --collar "$collar" \
      --json "$exp/results/score.$label.json" "${options[@]}"
  done
}
if [ -n "$meetings" ]; then
  run_stage 4 "diarization" diarize_meetings --code sdpn.cli.diarize \
    "$exp/sdpn/model" "$exp/untrained/model" "$data/meetings" \
    --outputs "$exp"/rttm/{trained,untrained,one-speaker} "$exp"/results/diarize.{trained,untrained,one-speaker}.json
  run_stage 5 "diarization error rate" score_meetings --text "collar=$collar" --code sdpn.cli.score \
    "$exp/rttm" "$data/meetings" --outputs "$exp"/results/score.{trained,untrained,one-speaker}.json
else
  echo "stages 4 and 5: left out, there are no --meetings"
fi

# ---- 6: report -------------------------------------------------------------------------------------------
# The table is kept, so that a run in which nothing had to be done still ends with it.
write_report() {
  show sdpn report "$exp" >"$exp/report.txt"
}
if [ -n "$dev$meetings" ]; then
  run_stage 6 "report" write_report --code sdpn.cli.report "$exp/results" "$exp/sdpn/tensorboard" \
    --outputs "$exp/report.html" "$exp/report.txt"
fi
if [ "$stop_stage" -ge 6 ] && [ -f "$exp/report.txt" ]; then
  echo
  cat "$exp/report.txt"
  echo
  [ -z "$meetings" ] || echo "RTTM:        $exp/rttm/trained/*.rttm"
  echo "TensorBoard: $exp/sdpn/tensorboard (tensorboard --logdir '$exp/sdpn/tensorboard')"
fi
