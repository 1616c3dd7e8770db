#!/usr/bin/env bash
# CALLHOME: telephone calls of NIST SRE 2000 (LDC2001S97), from a copy. --help lists the options.
set -euo pipefail

# shellcheck source=egs/callhome/path.sh
source "$(dirname "${BASH_SOURCE[0]}")/path.sh"
# shellcheck source=egs/callhome/cmd.sh
source "$here/cmd.sh"
title="CALLHOME, part 2"
peers=$here/peers.txt

corpus=
key=
sublists=
corpus_help="  --corpus DIR      LDC2001S97: *.sph at any depth
  --key DIR         sre2000-key.tar.gz of https://openslr.org/resources/10, unpacked
  --sublists DIR    https://github.com/BUTSpeechFIT/CALLHOME_sublists: part1 is dev, part2 test"

check_corpus() {
  require_folders corpus key sublists
  corpus_options=(--corpus "$corpus" --key "$key" --sublists "$sublists")
  corpus_inputs=("$corpus" "$key/fullref.rttm" "$sublists")
}

# shellcheck source=egs/shared/diarization.sh
source "$root/egs/shared/diarization.sh"
