# shellcheck shell=bash
# Diarization of a corpus with dev and test: data, tuning on dev alone, diarization of test, DER, table. A recipe sets
#
#     here, root, title, peers (a file, or set by check_corpus)
#     corpus_help            help of its own options, which it has declared
#     check_corpus           function that fails where an option is wrong
#     split_options SPLIT    function that sets the array split to what prepare_diarization.py needs for dev or test, and
#                            count to the number of its recordings
#     corpus_inputs          function that prints what the data depend on: files and folders, one a line
#
# and sources this with its arguments.
# shellcheck disable=SC2154  # these come from the recipe

stage=0
stop_stage=4
force=false
exp=
model=fast
no_counts=false
try=()
seed=0
nj=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

help_message="usage: $0 [options]

Diarization of $title: settings are chosen on dev alone, and test is scored once for each protocol.

data
$corpus_help
  --no_counts       the corpus is a part of it (default $no_counts)

what to run
  --stage N         first stage (default $stage)
  --stop_stage N    last stage (default $stop_stage)
                    0 data  1 tuning on dev  2 diarization of test  3 DER  4 table
  --force           run the chosen stages even if nothing has changed (default $force)
  --exp DIR         experiment folder (default $here/exp/default)

how
  --model M         model (default $model)
  --try KEY=V,V     values that tuning tries, see sdpn tune; may be repeated (default: those of sdpn tune)
  --seed N          random seed of the intervals (default $seed)
  --nj N            number of processes (default: number of cores, here $nj)"
# shellcheck source=tools/parse_options.sh
source "$root/tools/parse_options.sh"
# shellcheck source=tools/recipe.sh
source "$root/tools/recipe.sh"

[ $# -eq 0 ] || fail "unexpected argument '$1' (see --help)"
check_corpus
exp=${exp:-$here/exp/default}
begin_experiment .

# ---- 0: corpus -> validated data directories with references -------------------------------------------
prepare_data() {
  local part split count
  for part in dev test; do
    split_options "$part"
    if [ "$no_counts" = false ]; then split+=(--count "$count"); fi
    show "$python" "$root/egs/shared/prepare_diarization.py" --out "$data/$part" --nj "$nj" "${split[@]}"
  done
}
mapfile -t inputs < <(corpus_inputs)
splits=
for part in dev test; do
  split_options "$part"
  splits+="${split[*]} "
done
run_stage 0 "data" prepare_data --text "splits=$splits" --text "no_counts=$no_counts" "${inputs[@]}" "$root/egs/shared/prepare_diarization.py" \
  --code sdpn.io --outputs "$data"

# ---- 1: settings, chosen on dev -------------------------------------------------------------------------
recordings_of() {
  mapfile -t recordings < <(cut -d' ' -f2- "$data/$1/wav.scp")
  uem=()
  if [ -f "$data/$1/reference.uem" ]; then uem=(--uem "$data/$1/reference.uem"); fi
}
tune_on_dev() {
  local recordings uem options=() given
  recordings_of dev
  for given in ${try[@]+"${try[@]}"}; do options+=(--try "$given"); done
  show sdpn tune --model "$model" --ref "$data/dev/reference.rttm" --out "$exp/tuned" ${uem[@]+"${uem[@]}"} \
    ${options[@]+"${options[@]}"} "${recordings[@]}"
}
run_stage 1 "tuning on dev" tune_on_dev --text "model=$model ${try[*]-}" --code sdpn.cli.tune "$data/dev" \
  --outputs "$exp/tuned/settings.yaml" --clears "$exp/tuned"

# ---- 2: turns of test -----------------------------------------------------------------------------------
diarize_test() {
  local recordings uem
  recordings_of test
  show sdpn diarize --model "$model" --out "$exp/rttm/default" "${recordings[@]}"
  show sdpn diarize --model "$model" --config "$exp/tuned/settings.yaml" --out "$exp/rttm/tuned" "${recordings[@]}"
}
run_stage 2 "diarization of test" diarize_test --text "model=$model" --code sdpn.cli.diarize "$data/test" \
  "$exp/tuned/settings.yaml" --outputs "$exp/rttm/default" "$exp/rttm/tuned"

# ---- 3: DER by every protocol that peers are published in -------------------------------------------------
score_test() {
  local recordings uem system protocol options
  recordings_of test
  mkdir -p "$exp/results"
  for system in default tuned; do
    for protocol in collar-0 collar-250 collar-250-single; do
      options=(--collar 0)
      [ $protocol = collar-0 ] || options=(--collar 0.25)
      [ $protocol != collar-250-single ] || options+=(--skip-overlap)
      show sdpn score --ref "$data/test/reference.rttm" --hyp "$exp/rttm/$system" --seed "$seed" "${options[@]}" \
        ${uem[@]+"${uem[@]}"} --json "$exp/results/score.$system.$protocol.json"
    done
  done
}
run_stage 3 "DER" score_test --text "seed=$seed" --code sdpn.cli.score "$exp/rttm" "$data/test" --outputs "$exp/results"

# ---- 4: table ---------------------------------------------------------------------------------------------
write_table() {
  show "$python" "$root/egs/shared/diarization_table.py" --title "$title" --peers "$peers" "$exp" \
    >"$exp/RESULTS.md"
}
run_stage 4 "table" write_table "$root/egs/shared/diarization_table.py" "$peers" "$exp/results" \
  --outputs "$exp/RESULTS.md"
if [ "$stop_stage" -ge 4 ]; then
  echo
  cat "$exp/RESULTS.md"
fi
