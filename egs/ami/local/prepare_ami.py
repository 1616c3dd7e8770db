#!/usr/bin/env python3
"""A split of AMI by its official setup.

AUDIO/<meeting>/audio/<meeting>.<microphone>.wav
SETUP/lists/{dev,test}.meetings.txt  SETUP/only_words/rttms/{dev,test}/*.rttm  SETUP/uems/{dev,test}/*.uem
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sdpn.cli.script import script

# also without path.sh
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))

from prepare_diarization import (
    Split,
    read_list,
    read_reference,
    read_regions,
    recordings_below,
    require_reference,
    run,
)

#: Meetings of the setup (https://github.com/BUTSpeechFIT/AMI-diarization-setup).
COUNTS = {"dev": 18, "test": 16}


def find(args: argparse.Namespace) -> Split:
    """The split."""
    path = args.setup / "lists" / f"{args.split}.meetings.txt"
    wanted = read_list(path)
    reference = read_reference(args.setup / "only_words/rttms" / args.split)
    regions = read_regions(args.setup / "uems" / args.split)
    require_reference(wanted, reference, regions, path=path)
    ending = f".{args.microphone}"
    audio = recordings_below(
        args.audio,
        wanted,
        lambda stem: stem.removesuffix(ending) if stem.endswith(ending) else None,
        named=f"{{}}{ending}.*",
    )
    return Split(audio=audio, reference=reference, regions=regions, count=COUNTS[args.split])


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    run(__doc__, add_arguments, find, argv)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the corpus is."""
    parser.add_argument("--audio", type=Path, required=True, metavar="DIR")
    parser.add_argument("--setup", type=Path, required=True, metavar="DIR")
    parser.add_argument("--microphone", default="Mix-Headset", metavar="M")


if __name__ == "__main__":
    sys.exit(main())
