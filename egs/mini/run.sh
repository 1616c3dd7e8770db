#!/usr/bin/env bash
# Trains speaker embeddings without labels, and evaluates verification and diarization.
# README.md describes the stages; --help lists the options.
set -euo pipefail

# shellcheck source=egs/mini/path.sh
source "$(dirname "${BASH_SOURCE[0]}")/path.sh"
# shellcheck source=egs/mini/cmd.sh
source "$here/cmd.sh"

# ---- options -----------------------------------------------------------------------------------------
default_exp="$here/exp/mini, without --corpus $here/exp/demo"
default_config="$root/conf/mini.yaml, without --corpus conf/demo.yaml"
# shellcheck source=egs/shared/options.sh
source "$root/egs/shared/options.sh"
corpus=()
dev=
trials=
meetings=
noise=
rir=
without_benchmark=false
synthesis=

help_message="usage: $0 [options]

Train speaker embeddings without labels, and evaluate verification and diarization.

Without --corpus: on synthetic speakers and conversations; nothing is downloaded.
With --corpus: on your recordings. Stages without data are skipped: verification needs --dev and --trials,
diarization needs --meetings.

data
  --corpus DIR      training speech, DIR/<speaker>/*.{wav,flac,opus,ogg,mp3}; may be repeated. Speaker names
                    only become part of ids; training does not use them
  --dev DIR         speech of speakers that are in no --corpus, in the same layout
  --trials FILE     verification trials on --dev: '1|0 utt utt' or 'utt utt target|nontarget'
  --meetings DIR    recordings with reference.rttm and, optionally, reference.uem
  --noise DIR       noise recordings for augmentation, at any depth
  --rir DIR         room impulse responses for augmentation, at any depth
  --without_benchmark    leave the speakers, noises and rooms that 'sdpn benchmark' tests on out of the training
                    (default $without_benchmark)

$shared_help
  --synthesis 'OPTIONS'  options of local/synthesise.py, see its --help (default none)

examples
  $0
  $0 --corpus corpora/vox/train --corpus corpora/mine --meetings corpora/ami --stop_stage 5
  $0 --stage 4 --force"
# shellcheck source=tools/parse_options.sh
source "$root/tools/parse_options.sh"
# shellcheck source=tools/recipe.sh
source "$root/tools/recipe.sh"

check_jobs
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

begin_experiment .

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
  data_inputs=(--text "corpora=${corpus[*]}" --text "without_benchmark=$without_benchmark" "${corpus[@]}")
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
  if [ "$without_benchmark" = true ]; then options+=(--without_benchmark); fi
  show "$python" "$root/egs/shared/prepare_data.py" --out "$data" --nj "$nj" "${options[@]}"
}
run_stage 0 "data preparation" prepare_data "${data_inputs[@]}" "$here/local" "$root/egs/shared/prepare_data.py" \
  --code sdpn.io --code sdpn.benchmark.held_out --outputs "${data_outputs[@]}"

# shellcheck source=egs/shared/stages.sh
source "$root/egs/shared/stages.sh"
