#!/usr/bin/env bash
# Makes .venv: a virtual environment with this package (editable) and the versions in constraints.txt.
# Does nothing when it is up to date, and may be called by several at once. The Makefile calls it.
#
#   PYTHON         interpreter to build it from, at least 3.10 (default python3)
#   TORCH_BACKEND  cpu, cu130, ...: also look at PyTorch's own index for this build (default: only where pip is
#                  configured to look). Naming another one than before makes the environment anew; without
#                  the variable an existing environment keeps its build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
backend=${TORCH_BACKEND:-}
stamp=.venv/.setup

fail() {
  echo "setup: error: $1" >&2
  exit 2
}

[[ $backend =~ ^[a-z0-9.]*$ ]] || fail "TORCH_BACKEND='$backend' is no name of a build, such as cpu or cu130"
command -v "$python" >/dev/null || fail "there is no '$python'; set PYTHON to a Python of at least 3.10"
# not the interpreter of a virtual environment, which may be the one that is about to be replaced
python=$("$python" -c 'import sys; print(sys._base_executable)') || fail "'$python' does not run"
version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
  || fail "'$python' is Python $version, and 3.10 or newer is needed; set PYTHON to one"

# the stamp: Python, build of torch, what is to be installed
wanted() {
  echo "python $version"
  echo "backend ${backend:-$(sed -n 's/^backend //p' "$stamp" 2>/dev/null || true)}"
  cksum setup.py constraints.txt
}
is_current() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(wanted)" ]; }

if is_current; then exit 0; fi
# one at a time; the lock is on a file that is there anyway, and goes with this process
if command -v flock >/dev/null; then
  exec 9<setup.py
  flock 9
  if is_current; then exit 0; fi
fi

new=$(wanted)
if [ "$(head -n 2 "$stamp" 2>/dev/null || true)" != "$(echo "$new" | head -n 2)" ]; then
  echo "setup: making .venv with Python $version"
  rm -rf .venv
  "$python" -m venv .venv || fail "'$python -m venv' failed; on Debian and Ubuntu it needs the package python3-venv"
fi
rm -f "$stamp"
index=()
if [ -n "$backend" ]; then index=(--extra-index-url "https://download.pytorch.org/whl/$backend"); fi
echo "setup: installing sdpn and the packages in constraints.txt into .venv; the first time takes minutes"
# -qq: errors only. As a variable the constraints hold for the build of the package as well
PIP_CONSTRAINT=constraints.txt .venv/bin/python -m pip install -qq --disable-pip-version-check \
  ${index[@]+"${index[@]}"} --editable '.[demo,docs,test,lint]'
echo "$new" >"$stamp"
echo "setup: done in $SECONDS s"
