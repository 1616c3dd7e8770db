#!/usr/bin/env python3
"""A split of VoxConverse, version 0.3 of the references.

DEV_AUDIO/**/*.wav  TEST_AUDIO/**/*.wav  REFERENCES/{dev,test}/*.rttm
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sdpn.cli.script import script

# also without path.sh
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from prepare_diarization import Split, read_reference, recordings_below, run

#: Recordings of https://github.com/joonson/voxconverse.
COUNTS = {"dev": 216, "test": 232}


def find(args: argparse.Namespace) -> Split:
    """The split."""
    reference = read_reference(args.references / args.split)
    audio = recordings_below(args.dev_audio if args.split == "dev" else args.test_audio, reference)
    return Split(audio=audio, reference=reference, count=COUNTS[args.split], whole=False)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    run(__doc__, add_arguments, find, argv)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the corpus is."""
    parser.add_argument("--dev_audio", type=Path, required=True, metavar="DIR")
    parser.add_argument("--test_audio", type=Path, required=True, metavar="DIR")
    parser.add_argument("--references", type=Path, required=True, metavar="DIR")


if __name__ == "__main__":
    sys.exit(main())
