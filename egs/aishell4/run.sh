#!/usr/bin/env bash
# AISHELL-4 (https://openslr.org/111), the first channel of its array. --help lists the options.
set -euo pipefail

# shellcheck source=egs/aishell4/path.sh
source "$(dirname "${BASH_SOURCE[0]}")/path.sh"
# shellcheck source=egs/aishell4/cmd.sh
source "$here/cmd.sh"
title="AISHELL-4, channel 1"
peers=$here/peers.txt

corpus=
dev_list=$here/conf/dev.txt
corpus_help="  --corpus DIR      train_L.tar.gz, train_M.tar.gz, train_S.tar.gz and test.tar.gz, unpacked
  --dev_list FILE   recordings of train that are dev (default conf/dev.txt)"

check_corpus() {
  require_folders corpus
  [ -f "$dev_list" ] || fail "no such file: $dev_list"
  corpus_options=(--corpus "$corpus" --dev_list "$dev_list")
  corpus_inputs=("$corpus" "$dev_list")
}

# shellcheck source=egs/shared/diarization.sh
source "$root/egs/shared/diarization.sh"
