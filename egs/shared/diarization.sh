# shellcheck shell=bash
# Diarization of a corpus with dev and test: data, tuning on dev alone, diarization of test, DER, table. A recipe has
# sourced its path.sh and cmd.sh, sets
#
#     title, peers           (or check_corpus does)
#     corpus_help            help of its own options, which it has declared
#     check_corpus           function that fails where an option is wrong, and sets the arrays corpus_options, for its
#                            local/prepare_<corpus>.py, and corpus_inputs: files and folders that the data depend on
#
# and sources this with its arguments.
# shellcheck disable=SC2154  # these come from the recipe

stage=0
stop_stage=4
force=false
exp=
model=fast
no_counts=false
skip_tuning=false
try=()
seed=0
jobs=1
ngpu=0
nj=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
corpus_options=()
corpus_inputs=()

help_message="usage: $0 [options]

Diarization of $title: settings are chosen on dev alone, and test is scored once for each protocol.

data
$corpus_help
  --no_counts       the corpus is a part of it (default $no_counts)

what to run
  --stage N         first stage (default $stage)
  --stop_stage N    last stage (default $stop_stage)
                    0 data  1 tuning on dev  2 diarization of test  3 DER  4 table
  --skip_tuning     leave out stage 1: only the defaults are scored (default $skip_tuning)
  --force           run the chosen stages even if nothing has changed (default $force)
  --exp DIR         experiment folder (default $here/exp/default)

how
  --model M         model (default $model)
  --try KEY=V,V     values that tuning tries, see sdpn tune; may be repeated (default: those of conf/tune.txt)
  --seed N          random seed of the intervals (default $seed)
  --jobs N          batch jobs of stage 2, run as cmd.sh says (default $jobs: in one process)
  --ngpu N          GPUs of each job (default $ngpu)
  --nj N            number of processes of stage 0 (default: number of cores, here $nj)"
# shellcheck source=tools/parse_options.sh
source "$root/tools/parse_options.sh"
# shellcheck source=tools/recipe.sh
source "$root/tools/recipe.sh"

# Fails where an option that names a folder is not given or names none.
require_folders() {
  local name
  for name in "$@"; do
    [ -n "${!name}" ] || fail "give $(printf -- '--%s ' "$@")(see --help)"
  done
  for name in "$@"; do
    [ -d "${!name}" ] || fail "no such folder: ${!name}"
  done
}

[ $# -eq 0 ] || fail "unexpected argument '$1' (see --help)"
check_corpus
check_jobs
exp=${exp:-$here/exp/default}
begin_experiment .
systems=(default)
if [ "$skip_tuning" = false ]; then systems+=(tuned); fi
prepare=$here/local/prepare_$(basename "$here").py

# ---- 0: corpus -> validated data directories with references -------------------------------------------
prepare_data() {
  local part options=(--nj "$nj")
  if [ "$no_counts" = true ]; then options+=(--no_counts); fi
  for part in dev test; do
    if [ $part = test ] || [ "$skip_tuning" = false ]; then
      show "$python" "$prepare" --split $part --out "$data/$part" "${options[@]}" "${corpus_options[@]}"
    fi
  done
}
run_stage 0 "data" prepare_data --text "options=${corpus_options[*]} $no_counts $skip_tuning" "${corpus_inputs[@]}" \
  "$prepare" "$root/egs/shared/prepare_diarization.py" --code sdpn.io --outputs "$data"

# ---- 1: settings, chosen on dev -------------------------------------------------------------------------
recordings_of() {
  mapfile -t recordings < <(cut -d' ' -f2- "$data/$1/wav.scp")
  uem=()
  if [ -f "$data/$1/reference.uem" ]; then uem=(--uem "$data/$1/reference.uem"); fi
}
if [ ${#try[@]} -eq 0 ]; then mapfile -t try < <(grep -v '^#' "$here/conf/tune.txt" || true); fi
tune_on_dev() {
  local recordings uem options=() given
  recordings_of dev
  for given in ${try[@]+"${try[@]}"}; do options+=(--try "$given"); done
  show sdpn tune --model "$model" --ref "$data/dev/reference.rttm" --out "$exp/tuned" ${uem[@]+"${uem[@]}"} \
    ${options[@]+"${options[@]}"} "${recordings[@]}"
}
settings=()
if [ "$skip_tuning" = false ]; then
  run_stage 1 "tuning on dev" tune_on_dev --text "model=$model ${try[*]-}" --code sdpn.cli.tune "$data/dev" \
    --outputs "$exp/tuned/settings.yaml" --clears "$exp/tuned"
  settings=("$exp/tuned/settings.yaml")
fi

# ---- 2: turns of test -----------------------------------------------------------------------------------
# Where peers are published with given speech, so are we: protocols that end with -oracle.
protocols=(collar-0 collar-250 collar-250-single)
oracle=false
if grep -q -- '^[a-z0-9-]*-oracle ' "$peers"; then
  oracle=true
  protocols+=(collar-0-oracle collar-250-oracle collar-250-single-oracle)
fi
diarize_test() {
  local recordings uem system options
  recordings_of test
  for system in "${systems[@]}"; do
    options=(--model "$model")
    if [ "$system" = tuned ]; then options+=(--config "${settings[0]}"); fi
    spread diarize "${options[@]}" --out "$exp/rttm/$system" "${recordings[@]}"
    if [ $oracle = true ]; then
      spread diarize "${options[@]}" --reference-speech "$data/test/reference.rttm" --out "$exp/rttm/$system-oracle" \
        "${recordings[@]}"
    fi
  done
}
run_stage 2 "diarization of test" diarize_test --text "model=$model ${systems[*]} $oracle" --code sdpn.cli.diarize \
  "$data/test" ${settings[@]+"${settings[@]}"} --outputs "${systems[@]/#/$exp/rttm/}" --clears "$exp/rttm"

# ---- 3: DER by every protocol that peers are published in -------------------------------------------------
score_test() {
  local recordings uem system protocol options turns
  recordings_of test
  mkdir -p "$exp/results"
  for system in "${systems[@]}"; do
    for protocol in "${protocols[@]}"; do
      options=(--collar 0)
      [[ $protocol != collar-250* ]] || options=(--collar 0.25)
      [[ $protocol != *-single* ]] || options+=(--skip-overlap)
      turns=$exp/rttm/$system
      [[ $protocol != *-oracle ]] || turns+=-oracle
      show sdpn score --ref "$data/test/reference.rttm" --hyp "$turns" --seed "$seed" "${options[@]}" \
        ${uem[@]+"${uem[@]}"} --json "$exp/results/score.$system.$protocol.json"
    done
  done
}
run_stage 3 "DER" score_test --text "seed=$seed ${protocols[*]}" --code sdpn.cli.score "$exp/rttm" "$data/test" \
  --outputs "$exp/results"

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
