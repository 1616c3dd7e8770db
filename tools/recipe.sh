# shellcheck shell=bash
# What every recipe begins with: how it fails, how it shows a command, and the sdpn that it runs. Source it after
# parse_options.sh, with $root set to the top of the repository; defines fail, show, learn_back_end and find_sdpn, which
# sets $python.
# shellcheck disable=SC2154  # root is set by who sources this

fail() {
  echo "$(basename "$0"): error: $1" >&2
  exit 2
}

# Shows a command before it runs, so that it can be copied; never in the output that a stage keeps.
exec 3>&1
show() {
  { printf '$' && printf ' %q' "$@" && printf '\n'; } >&3
  "$@"
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

# PLDA and AS-norm into the model folder $1, from the data directory $2, also without labels; they need more speech than
# a demo has.
learn_back_end() {
  if [ "$(wc -l <"$2/wav.scp")" -ge 500 ]; then
    show sdpn backend --model "$1" --data "$2" --json "$(dirname "$1")/backend.json"
  fi
}
