#!/usr/bin/env bash
# AMI by its official setup (https://github.com/BUTSpeechFIT/AMI-diarization-setup). --help lists the options.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
title=AMI

audio=
setup=
microphone=Mix-Headset
corpus_help="  --audio DIR       the corpus: DIR/<meeting>/audio/<meeting>.Mix-Headset.wav
  --setup DIR       AMI-diarization-setup: lists/, only_words/rttms/ and uems/ with train, dev and test
  --microphone M    Mix-Headset, or Array1-01 for a distant microphone (default $microphone)"

check_corpus() {
  [ -n "$audio" ] && [ -n "$setup" ] || fail "give --audio and --setup (see --help)"
  for given in "$audio" "$setup/lists" "$setup/only_words/rttms" "$setup/uems"; do
    [ -d "$given" ] || fail "no such folder: $given"
  done
  # figures of two microphones cannot be compared
  title="AMI, $microphone"
  peers=$here/peers.$microphone.txt
  [ -f "$peers" ] || fail "--microphone is Mix-Headset or Array1-01, not '$microphone'"
}

split_options() {
  split=(--audio "$audio" --ending ".$microphone" --list "$setup/lists/$1.meetings.txt"
    --rttm "$setup/only_words/rttms/$1" --uem "$setup/uems/$1")
  count=16
  [ "$1" = test ] || count=18
}

corpus_inputs() { printf '%s\n' "$audio" "$setup/lists" "$setup/only_words/rttms" "$setup/uems"; }

# shellcheck source=egs/shared/diarization.sh
source "$root/egs/shared/diarization.sh"
