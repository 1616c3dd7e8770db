#!/usr/bin/env bash
# AMI by its official setup (https://github.com/BUTSpeechFIT/AMI-diarization-setup). --help lists the options.
set -euo pipefail

# shellcheck source=egs/ami/path.sh
source "$(dirname "${BASH_SOURCE[0]}")/path.sh"
# shellcheck source=egs/ami/cmd.sh
source "$here/cmd.sh"
title=AMI

audio=
setup=
microphone=Mix-Headset
corpus_help="  --audio DIR       the corpus: DIR/<meeting>/audio/<meeting>.Mix-Headset.wav
  --setup DIR       AMI-diarization-setup: lists/, only_words/rttms/ and uems/ with train, dev and test
  --microphone M    Mix-Headset, or Array1-01 for a distant microphone (default $microphone)"

check_corpus() {
  require_folders audio setup
  # figures of two microphones cannot be compared
  title="AMI, $microphone"
  peers=$here/peers.$microphone.txt
  [ -f "$peers" ] || fail "--microphone is Mix-Headset or Array1-01, not '$microphone'"
  corpus_options=(--audio "$audio" --setup "$setup" --microphone "$microphone")
  corpus_inputs=("$audio" "$setup")
}

# shellcheck source=egs/shared/diarization.sh
source "$root/egs/shared/diarization.sh"
