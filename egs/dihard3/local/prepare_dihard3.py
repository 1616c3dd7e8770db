#!/usr/bin/env python3
"""A split of DIHARD III (LDC2022S12 and LDC2022S14), which only LDC gives out.

    DEV/data/flac/DH_DEV_0001.flac
    DEV/data/rttm/DH_DEV_0001.rttm
    DEV/data/uem_scoring/{full,core}/all.uem
    EVAL/data/...                               DH_EVAL_0001 and so on

dev is the development set, and test the evaluation set. The UEM of the partition says which recordings
are in it.
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
    read_reference,
    read_regions,
    recordings_below,
    require_folder,
    require_reference,
    run,
)

#: Recordings of the partition 'full'; 'core' is balanced by domain (arXiv 2012.01477).
COUNTS = {"dev": 254, "test": 259}


def find(args: argparse.Namespace) -> Split:
    """The split."""
    data = require_folder((args.dev if args.split == "dev" else args.eval) / "data")
    uem = data / "uem_scoring" / args.partition / "all.uem"
    regions = read_regions(uem)
    reference = read_reference(require_folder(data / "rttm"))
    require_reference(list(regions), reference, path=uem)
    audio = recordings_below(data / "flac", regions, named="{}.flac")
    count = COUNTS[args.split] if args.partition == "full" else None
    return Split(audio=audio, reference=reference, regions=regions, count=count)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    run(__doc__, add_arguments, find, argv)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the corpus is."""
    parser.add_argument("--dev", type=Path, required=True, metavar="DIR", help="development set")
    parser.add_argument("--eval", type=Path, required=True, metavar="DIR", help="evaluation set")
    parser.add_argument("--partition", choices=("full", "core"), default="full")


if __name__ == "__main__":
    sys.exit(main())
