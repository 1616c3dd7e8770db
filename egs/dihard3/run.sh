#!/usr/bin/env bash
# DIHARD III (LDC2022S12, LDC2022S14), from a copy. --help lists the options.
set -euo pipefail

# shellcheck source=egs/dihard3/path.sh
source "$(dirname "${BASH_SOURCE[0]}")/path.sh"
# shellcheck source=egs/dihard3/cmd.sh
source "$here/cmd.sh"
title="DIHARD III"

dev=
eval=
partition=full
corpus_help="  --dev DIR         the development set: data/{flac,rttm,uem_scoring}
  --eval DIR        the evaluation set
  --partition P     full, or core, which is balanced by domain (default $partition)"

check_corpus() {
  require_folders dev eval
  title="DIHARD III, $partition"
  peers=$here/peers.$partition.txt
  [ -f "$peers" ] || fail "--partition is full or core, not '$partition'"
  corpus_options=(--dev "$dev" --eval "$eval" --partition "$partition")
  corpus_inputs=("$dev" "$eval")
}

# shellcheck source=egs/shared/diarization.sh
source "$root/egs/shared/diarization.sh"
