# shellcheck shell=bash
# What every recipe begins with: how it fails, how it shows a command, how it is stopped, and the sdpn that it runs.
# Source it after parse_options.sh, with $root set to the top of the repository; defines fail, show, spread,
# begin_experiment, training_settings, learn_back_end and verify.
# shellcheck disable=SC2154  # root is set by who sources this

# shellcheck source=tools/stages.sh
source "$root/tools/stages.sh"

fail() {
  echo "$(basename "$0"): error: $1" >&2
  exit 2
}

# Shows a command before it runs, so that it can be copied; never in the output that a stage keeps. The command has a
# process group of its own: a signal reaches it by stop_by, once, and it saves what it can before the recipe ends.
exec 3>&1
running=
stopping=
show() {
  { printf '$' && printf ' %q' "$@" && printf '\n'; } >&3
  local status=0
  set -m
  "$@" 9>&- &
  running=$!
  set +m
  running_sdpn=false
  [ "$1" != sdpn ] || running_sdpn=true
  while :; do # a signal interrupts 'wait'
    wait "$running" && status=0 || status=$?
    kill -0 "$running" 2>/dev/null || break
  done
  running=
  [ -z "$stopping" ] || end_by "$stopping"
  return "$status"
}

# Ctrl-C, SIGTERM and the like go to the running command; what is no sdpn has nothing to save and ends at once.
stop_by() {
  stopping=$1
  [ -n "$running" ] || end_by "$1"
  if [ "$running_sdpn" = true ]; then
    kill -s "$1" -- "-$running" 2>/dev/null || true
  else
    kill -s TERM -- "-$running" 2>/dev/null || true
  fi
}

end_by() {
  trap - "$1"
  echo "$(basename "$0"): stopped by SIG$1; the same command continues" >&2
  exit $((128 + $(kill -l "$1")))
}

for signal in INT TERM HUP USR1; do
  # shellcheck disable=SC2064  # the name, now
  trap "stop_by $signal" "$signal"
done

# 'sdpn COMMAND ...' as $jobs shards, run as $batch in cmd.sh says; with one, in a process of this machine.
spread() {
  if [ "$jobs" -gt 1 ]; then
    show sdpn batch --jobs "$jobs" --gpus "$ngpu" "${batch[@]}" -- "$@"
  else
    show sdpn "$@"
  fi
}

# For recipes that have --jobs and --ngpu.
check_jobs() {
  [ "$jobs" -ge 1 ] || fail "--jobs must be at least 1"
  [ "$ngpu" -ge 0 ] || fail "--ngpu must not be negative"
}

# The environment that 'make demo' and 'make test' set up, unless another one is active.
find_sdpn() {
  if ! command -v sdpn >/dev/null && [ -x "$root/.venv/bin/sdpn" ]; then
    PATH=$root/.venv/bin:$PATH
  fi
  command -v sdpn >/dev/null || fail "the command sdpn is not installed: run 'make demo', or pip install this project"
  python=python3
  "$python" -c 'import sdpn' 2>/dev/null \
    || fail "python3 cannot import sdpn: activate the environment that sdpn is installed in"
}

# Two recipes never work on one experiment. The kernel drops the lock when this shell is gone, however it ended;
# commands do not inherit it. Python takes it, for not every system has flock(1).
claim() {
  exec 9>>"$1/.lock"
  "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null \
    || fail "another recipe is at work on $1: wait for it, or use another --exp"
}

# Makes $exp and claims it; sets $data, and where the stages' markers are: in $1 below $exp.
begin_experiment() {
  find_sdpn
  mkdir -p "$exp/$1"
  exp=$(cd "$exp" && pwd)
  claim "$exp"
  data=$exp/data
  # shellcheck disable=SC2034  # read by stages.sh
  stage_markers=$exp/$1/.stages
}

# $settings: --set, the seed and, of noise and rir, the augmentation data named; these are $augmentation_data, too.
training_settings() {
  local part
  settings=(${set[@]+"${set[@]}"} "training.seed=$seed")
  augmentation_data=()
  for part in "$@"; do
    settings+=("augmentation.$part=$data/$part")
    augmentation_data+=("$data/$part")
  done
}

# PLDA and AS-norm into the model folder $1, from the data directory $2, also without labels; they need more speech than
# a demo has.
learn_back_end() {
  if [ "$(wc -l <"$2/wav.scp")" -ge 500 ]; then
    show sdpn backend --model "$1" --data "$2" --json "$(dirname "$1")/backend.json"
  fi
}

# The dev trials by embeddings in the folder $1 to $3.json, and to $3-back-end.json where the model $2 has a back end.
verify() {
  local given=(--trials "$data/dev/trials" --embeddings "$1/embeddings.scp")
  show sdpn verify "${given[@]}" --json "$3.json"
  rm -f "$3-back-end.json"
  if [ -f "$2/back_end.safetensors" ]; then
    show sdpn verify "${given[@]}" --back-end "$2" --json "$3-back-end.json"
  fi
}
