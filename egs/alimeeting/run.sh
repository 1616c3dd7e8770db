#!/usr/bin/env bash
# AliMeeting (https://openslr.org/119), the first channel of the far-field array. --help lists the options.
set -euo pipefail

# shellcheck source=egs/alimeeting/path.sh
source "$(dirname "${BASH_SOURCE[0]}")/path.sh"
# shellcheck source=egs/alimeeting/cmd.sh
source "$here/cmd.sh"
title="AliMeeting, far field, channel 1"
peers=$here/peers.txt

corpus=
corpus_help="  --corpus DIR      Eval_Ali.tar.gz and Test_Ali.tar.gz, unpacked"

check_corpus() {
  require_folders corpus
  corpus_options=(--corpus "$corpus")
  corpus_inputs=("$corpus")
}

# shellcheck source=egs/shared/diarization.sh
source "$root/egs/shared/diarization.sh"
