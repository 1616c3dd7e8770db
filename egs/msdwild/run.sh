#!/usr/bin/env bash
# MSDWild (https://github.com/X-LANCE/MSDWILD). --help lists the options.
set -euo pipefail

# shellcheck source=egs/msdwild/path.sh
source "$(dirname "${BASH_SOURCE[0]}")/path.sh"
# shellcheck source=egs/msdwild/cmd.sh
source "$here/cmd.sh"
title=MSDWild

audio=
rttms=
speakers=few
corpus_help="  --audio DIR       wavs, unpacked: *.wav at any depth
  --rttms DIR       rttms/ of the repository MSDWILD: few.train.rttm, few.val.rttm and many.val.rttm
  --speakers S      test is few.val (2 to 4 speakers) or many.val: few or many (default $speakers)"

check_corpus() {
  require_folders audio rttms
  title="MSDWild, $speakers.val"
  peers=$here/peers.$speakers.txt
  [ -f "$peers" ] || fail "--speakers is few or many, not '$speakers'"
  corpus_options=(--audio "$audio" --rttms "$rttms" --speakers "$speakers")
  corpus_inputs=("$audio" "$rttms")
}

# shellcheck source=egs/shared/diarization.sh
source "$root/egs/shared/diarization.sh"
