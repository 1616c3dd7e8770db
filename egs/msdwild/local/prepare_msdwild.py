#!/usr/bin/env python3
"""A split of MSDWild: the audio of videos.

    AUDIO/**/<recording>.wav                              00001 and so on
    RTTMS/{few.train,few.val,many.val}.rttm               https://github.com/X-LANCE/MSDWILD

test is few.val or many.val. The corpus has no development set: dev is every tenth recording of few.train,
in the order of their names.
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

from prepare_diarization import Split, read_reference, recordings_below, run

#: Recordings of each reference.
COUNTS = {"few.train": 2476, "few.val": 490, "many.val": 177}

#: One recording of so many of few.train is dev.
_EVERY = 10


def find(args: argparse.Namespace) -> Split:
    """The split."""
    name = "few.train" if args.split == "dev" else f"{args.speakers}.val"
    path = args.rttms / f"{name}.rttm"
    if not path.is_file():
        raise InputError(
            "no such file", path=path, hint="is this the folder rttms of the repository MSDWILD?"
        )
    reference = read_reference(path)
    if not args.no_counts and len(reference) != COUNTS[name]:
        raise InputError(
            f"{len(reference)} recordings, expected {COUNTS[name]}",
            path=path,
            hint="is something missing? --no_counts takes it as it is",
        )
    wanted = sorted(reference)[::_EVERY] if args.split == "dev" else list(reference)
    return Split(audio=recordings_below(args.audio, wanted, named="{}.wav"), reference=reference)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    run(__doc__, add_arguments, find, argv)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the corpus is."""
    parser.add_argument("--audio", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rttms", type=Path, required=True, metavar="DIR")
    parser.add_argument("--speakers", choices=("few", "many"), default="few", help="few.val or many.val")


if __name__ == "__main__":
    sys.exit(main())
