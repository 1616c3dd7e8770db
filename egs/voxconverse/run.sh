#!/usr/bin/env bash
# VoxConverse, version 0.3 of the references (https://github.com/joonson/voxconverse). --help lists the options.
set -euo pipefail

# shellcheck source=egs/voxconverse/path.sh
source "$(dirname "${BASH_SOURCE[0]}")/path.sh"
# shellcheck source=egs/voxconverse/cmd.sh
source "$here/cmd.sh"
title=VoxConverse
peers=$here/peers.txt

dev_audio=
test_audio=
references=
corpus_help="  --dev_audio DIR   voxconverse_dev_wav.zip, unpacked: *.wav at any depth
  --test_audio DIR  voxconverse_test_wav.zip, unpacked
  --references DIR  the repository voxconverse: dev/*.rttm and test/*.rttm"

check_corpus() {
  require_folders dev_audio test_audio references
  corpus_options=(--dev_audio "$dev_audio" --test_audio "$test_audio" --references "$references")
  corpus_inputs=("$dev_audio" "$test_audio" "$references/dev" "$references/test")
}

# shellcheck source=egs/shared/diarization.sh
source "$root/egs/shared/diarization.sh"
