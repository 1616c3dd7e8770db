#!/usr/bin/env python3
"""A split of AISHELL-4: the first channel of the array.

    CORPUS/{train_L,train_M,train_S,test}/wav/<recording>.flac
    CORPUS/{train_L,train_M,train_S,test}/TextGrid/<recording>.rttm    beside the .TextGrid

The corpus has train and test; dev is the recordings of --dev_list in train.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sdpn.cli.script import script
from sdpn.io.rttm import Turn

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

#: Recordings of test (arXiv 2104.03603); those of dev are listed.
NUM_TEST = 20


def find(args: argparse.Namespace) -> Split:
    """The split."""
    parts = ["test"] if args.split == "test" else ["train_L", "train_M", "train_S"]
    reference: dict[str, list[Turn]] = {}
    for part in parts:
        reference |= read_reference(require_folder(args.corpus / part / "TextGrid"))
    folders = [require_folder(args.corpus / part / "wav") for part in parts]
    wanted, count = list(reference), NUM_TEST
    if args.split == "dev":
        wanted = read_list(args.dev_list)
        count = len(wanted)
        require_reference(wanted, reference, path=args.dev_list)
    audio = recordings_below(folders, wanted, named="{}.flac")
    return Split(audio=audio, reference=reference, count=count, channel=0)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    run(__doc__, add_arguments, find, argv)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the corpus is."""
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dev_list", type=Path, required=True, metavar="FILE")


if __name__ == "__main__":
    sys.exit(main())
