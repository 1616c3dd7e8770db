#!/usr/bin/env python3
"""A part of CALLHOME: telephone calls of NIST SRE 2000 (LDC2001S97), which only LDC gives out.

    CORPUS/**/<recording>.sph                     500 calls, iaaa and so on
    KEY/fullref.rttm                              sre2000-key of Kaldi's recipe (openslr.org/resources/10)
    SUBLISTS/part1/*_<N>spks.txt, part2/...       https://github.com/BUTSpeechFIT/CALLHOME_sublists

dev is part 1, and test part 2: the split of Kaldi's recipe, which papers since EEND use.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sdpn.cli.script import script
from sdpn.errors import InputError

# also without path.sh
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from prepare_diarization import (
    Split,
    read_list,
    read_reference,
    recordings_below,
    require_folder,
    require_reference,
    run,
)

PARTS = {"dev": "part1", "test": "part2"}
#: Calls of the parts with at least two speakers in the reference.
COUNTS = {"dev": 249, "test": 250}


def find(args: argparse.Namespace) -> Split:
    """The part."""
    folder = require_folder(args.sublists / PARTS[args.split])
    wanted: dict[str, Path] = {}
    for path in sorted(folder.glob("*spks.txt")):
        for key in read_list(path):
            if key in wanted:
                raise InputError(f"recording {key!r} is in {wanted[key].name}, too", path=path)
            wanted[key] = path
    if not wanted:
        raise InputError("there are no *spks.txt", path=folder, hint="is this CALLHOME_sublists?")
    reference = read_reference(args.key / "fullref.rttm")
    require_reference(list(wanted), reference, path=args.key / "fullref.rttm")
    audio = recordings_below(args.corpus, wanted, named="{}.sph")
    return Split(audio=audio, reference=reference, count=COUNTS[args.split])


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    run(__doc__, add_arguments, find, argv)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the corpus is."""
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="LDC2001S97")
    parser.add_argument("--key", type=Path, required=True, metavar="DIR", help="sre2000-key")
    parser.add_argument("--sublists", type=Path, required=True, metavar="DIR", help="CALLHOME_sublists")


if __name__ == "__main__":
    sys.exit(main())
