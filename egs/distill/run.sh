#!/usr/bin/env bash
# A small student of any larger model, on unlabelled speech, such as 'fast' is.
# README.md describes the stages; --help lists the options.
set -euo pipefail

# shellcheck source=egs/distill/path.sh
source "$(dirname "${BASH_SOURCE[0]}")/path.sh"

# ---- options -----------------------------------------------------------------------------------------
stage=0
stop_stage=4
force=false
exp=$here/exp
corpus=()
unlabelled=()
noise=
rir=
without_benchmark=false
hold=0
hold_names=
voices=1
teacher=
teacher_format=
start=
config=$here/conf/fast.yaml
set=()
seed=0
nj=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

help_message="usage: $0 --teacher MODEL --corpus DIR [options]

Teaches a small network the embeddings of a large one, on unlabelled speech, with voices that nobody has beside those
of the corpora. EXP/model is the result, with weights of 16 bits and a back end.

data
  --corpus DIR      speech, DIR/<speaker>/**/*.{wav,flac,opus,ogg,mp3}; may be repeated. Nothing is learned from who speaks
  --unlabelled DIR  speech of unknown speakers, at any depth; may be repeated
  --noise DIR       noise recordings, for augmentation
  --rir DIR         room impulse responses, for augmentation
  --without_benchmark   leave out what 'sdpn benchmark' tests on (default $without_benchmark)
  --hold N          speakers of the corpora that nothing is trained on, for choices and stage 3 (default $hold)
  --hold_names FILE     instead: these speakers, CORPUS-FOLDER, one to a line
  --voices N        copies of every utterance by other voices; above 0 needs praat-parselmouth (default $voices)

models
  --teacher MODEL   any that --model of sdpn accepts
  --teacher_format F    its format, where its files do not say
  --start MODEL     the student begins with these weights, and the mean of both ends is tried as well

what to run
  --stage N         first stage (default $stage)
  --stop_stage N    last stage (default $stop_stage)
                    0 data  1 voices  2 training  3 trials of held-out speakers  4 model and back end
  --force           run the chosen stages even if nothing has changed (default $force)
  --exp DIR         experiment folder (default $exp)

how
  --config FILE     training configuration (default $config)
  --set KEY=VALUE   change a setting, such as training.steps=500; may be repeated
  --seed N          random seed (default $seed)
  --nj N            processes that prepare data (default: number of cores, here $nj)

examples
  $0 --teacher campplus.bin --teacher_format 3dspeaker --corpus corpora/mine --exp exp/mine
  $0 --teacher campplus.bin --teacher_format 3dspeaker --corpus corpora/mine --hold 20 --start fast --exp exp/more"
# shellcheck source=tools/parse_options.sh
source "$root/tools/parse_options.sh"
# shellcheck source=tools/recipe.sh
source "$root/tools/recipe.sh"

[ $# -eq 0 ] || fail "unexpected argument '$1' (see --help)"
[ -n "$teacher" ] || fail "--teacher MODEL is needed (see --help)"
[ ${#corpus[@]} -gt 0 ] || fail "--corpus DIR is needed (see --help)"
[ "$hold" -ge 0 ] && [ "$voices" -ge 0 ] || fail "--hold and --voices must not be negative"
for given in "${corpus[@]}" ${unlabelled[@]+"${unlabelled[@]}"} "$noise" "$rir"; do
  [ -z "$given" ] || [ -d "$given" ] || fail "no such folder: $given"
done
for given in "$config" "$hold_names"; do
  [ -z "$given" ] || [ -f "$given" ] || fail "no such file: $given"
done

begin_experiment .

# ---- 0: corpora -> data directories, and speakers that nothing is trained on ---------------------------------
# The names count beside the contents, since ids are made of them.
data_inputs=(--text "corpora=${corpus[*]} unlabelled=${unlabelled[*]-} noise=$noise rir=$rir" --text "hold=$hold $seed"
  --text "without_benchmark=$without_benchmark" "${corpus[@]}")
for given in ${unlabelled[@]+"${unlabelled[@]}"} "$noise" "$rir" "$hold_names"; do
  [ -z "$given" ] || data_inputs+=("$given")
done
prepare() {
  local options=() given
  for given in "${corpus[@]}"; do options+=(--corpus "$given"); done
  for given in ${unlabelled[@]+"${unlabelled[@]}"}; do options+=(--unlabelled "$given"); done
  if [ -n "$noise" ]; then options+=(--noise "$noise"); fi
  if [ -n "$rir" ]; then options+=(--rir "$rir"); fi
  if [ "$without_benchmark" = true ]; then options+=(--without_benchmark); fi
  show "$python" "$root/egs/shared/prepare_data.py" --out "$data" --nj "$nj" --apart "${options[@]}"
  [ -n "$hold_names" ] || [ "$hold" -gt 0 ] || return 0
  options=(--out "$exp/parts" --seed "$seed")
  for given in "$data"/train/*; do options+=(--data "$given"); done
  if [ -n "$hold_names" ]; then
    show "$python" "$root/egs/shared/hold_speakers.py" "${options[@]}" --names "$hold_names"
  else
    show "$python" "$root/egs/shared/hold_speakers.py" "${options[@]}" --speakers "$hold"
  fi
}
prepared=("$data")
if [ -n "$hold_names" ] || [ "$hold" -gt 0 ]; then prepared+=("$exp/parts"); fi
run_stage 0 "data" prepare "${data_inputs[@]}" "$root/egs/shared/prepare_data.py" "$root/egs/shared/hold_speakers.py" \
  --code sdpn.io --code sdpn.benchmark.held_out --outputs "${prepared[@]}"

held=()
speech=("$data"/train/*)
if [ ${#prepared[@]} -gt 1 ]; then
  held=("$exp"/parts/hold/*)
  speech=("$exp"/parts/train/*)
fi
if [ ${#unlabelled[@]} -gt 0 ]; then speech+=("$data"/unlabelled/*); fi

# ---- 1: voices that nobody has ---------------------------------------------------------------------------------
# Audio that is there is kept when the stage is started again.
other_voices() {
  local copy given options=(--nj "$nj" --seed "$seed")
  for given in "${speech[@]}"; do options+=(--data "$given"); done
  for copy in $(seq "$voices"); do
    show "$python" "$here/local/other_voices.py" --out "$exp/voices/$copy" --copy "$copy" "${options[@]}"
  done
}
spoken=("${speech[@]}")
if [ "$voices" -gt 0 ]; then
  run_stage 1 "voices" other_voices --text "copies=$voices $seed" "${speech[@]}" "$here/local/other_voices.py" \
    --outputs "$exp/voices"
  for copy in $(seq "$voices"); do spoken+=("$exp/voices/$copy"); done
fi

# ---- 2: training --------------------------------------------------------------------------------------------------
# The teacher's embeddings are kept in EXP/teacher, for further runs.
training_settings ${noise:+noise} ${rir:+rir}
settings+=("distill.cache=$exp/teacher")
if [ -n "$start" ]; then settings+=("initial.model=$start"); fi
if [ ${#held[@]} -gt 0 ]; then # for the dashboard: of one corpus
  settings+=("evaluation.data=${held[0]}" "evaluation.trials=${held[0]}/trials" evaluation.every=400)
fi
train() {
  local options=() given
  for given in "${spoken[@]}"; do options+=(--data "$given"); done
  if [ -n "$teacher_format" ]; then options+=(--teacher-format "$teacher_format"); fi
  show sdpn train --config "$config" --out "$exp/student" --teacher "$teacher" "${options[@]}" "${settings[@]}"
  if [ -n "$start" ]; then show sdpn average "$start" "$exp/student/model" --out "$exp/mean"; fi
}
run_stage 2 "training" train --text "settings=${settings[*]} teacher=$teacher $teacher_format" --code sdpn.cli.train \
  "$config" "${spoken[@]}" --outputs "$exp/student/model" ${start:+"$exp/mean"} --clears "$exp/student"

# ---- 3: trials of the speakers that were held out --------------------------------------------------------------------
models=("$exp/student/model")
if [ -n "$start" ]; then models+=("$exp/mean"); fi
compare() {
  local model name list
  for model in "${models[@]}"; do
    name=$(basename "${model%/model}")
    for list in "${held[@]}"; do
      show sdpn extract --precision fp32 --model "$model" --data "$list" --out "$exp/embeddings/$name/$(basename "$list")"
      show sdpn verify --trials "$list/trials" --embeddings "$exp/embeddings/$name/$(basename "$list")/embeddings.scp" \
        --json "$exp/results/$name/$(basename "$list").json"
    done
  done
}
if [ ${#held[@]} -gt 0 ]; then
  run_stage 3 "trials of held-out speakers" compare --code sdpn.cli.extract --code sdpn.cli.verify "${models[@]}" \
    "${held[@]}" --outputs "$exp/results" --clears "$exp/embeddings"
fi

# ---- 4: the better of them, with a back end ------------------------------------------------------------------------------
# Which system has the lower EER in the mean over the lists.
better() {
  "$python" -c 'import json, pathlib, sys
def mean_eer(folder):
    eers = [json.loads(file.read_text())["results"]["eer"] for file in folder.glob("*.json")]
    return sum(eers) / len(eers)
eer_of = {name: mean_eer(pathlib.Path(sys.argv[1], name)) for name in ("student", "mean")}
print(min(eer_of, key=eer_of.get))' "$exp/results"
}
keep() {
  local best=${models[0]} options=() given
  if [ ${#models[@]} -gt 1 ] && [ ${#held[@]} -gt 0 ]; then
    given=$(better)
    echo "the better of student and mean: $given"
    [ "$given" = student ] || best=$exp/mean
  fi
  show sdpn convert --model "$best" --half --out "$exp/model"
  for given in "${speech[@]}"; do options+=(--data "$given"); done
  for given in ${noise:+noise} ${rir:+rir}; do options+=("--$given" "$data/$given"); done
  # PLDA and AS-norm need more speech than a trial of the recipe has
  if [ "$(cat "${speech[@]/%//wav.scp}" | wc -l)" -ge 500 ]; then
    show sdpn backend --model "$exp/model" "${options[@]}" --seed "$seed"
  fi
}
run_stage 4 "model and back end" keep --code sdpn.cli.convert --code sdpn.cli.backend "${models[@]}" \
  --outputs "$exp/model"
