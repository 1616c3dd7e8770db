#!/usr/bin/env bash
# VoxConverse, version 0.3 of the references (https://github.com/joonson/voxconverse). --help lists the options.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
title=VoxConverse
peers=$here/peers.txt

dev_audio=
test_audio=
references=
corpus_help="  --dev_audio DIR   voxconverse_dev_wav.zip, unpacked: *.wav at any depth
  --test_audio DIR  voxconverse_test_wav.zip, unpacked
  --references DIR  the repository voxconverse: dev/*.rttm and test/*.rttm"

check_corpus() {
  [ -n "$dev_audio" ] && [ -n "$test_audio" ] && [ -n "$references" ] \
    || fail "give --dev_audio, --test_audio and --references (see --help)"
  for given in "$dev_audio" "$test_audio" "$references/dev" "$references/test"; do
    [ -d "$given" ] || fail "no such folder: $given"
  done
}

split_options() {
  split=(--audio "$dev_audio" --rttm "$references/dev")
  count=216
  if [ "$1" = test ]; then
    split=(--audio "$test_audio" --rttm "$references/test")
    count=232
  fi
}

corpus_inputs() { printf '%s\n' "$dev_audio" "$test_audio" "$references/dev" "$references/test"; }

# shellcheck source=egs/shared/diarization.sh
source "$root/egs/shared/diarization.sh"
