#!/usr/bin/env python3
"""Divide data directories by speaker: OUT/train/NAME to train on, OUT/hold/NAME to choose with."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sdpn.cli.script import script
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory
from sdpn.io.kaldi import read_data_dir, write_data_dir

#: Utterances that a held-out speaker needs: trials of the same speaker are made of them.
_LEAST = 4


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--data", type=Path, action="append", required=True, help="data directory with utt2spk"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make; an old one is replaced")
    parser.add_argument("--speakers", type=int, default=14, help="held out of each; default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    hold_speakers(args.data, args.out, args.speakers, args.seed)


def hold_speakers(directories: Sequence[Path], out: Path, speakers: int, seed: int) -> None:
    """Write both parts of every directory.

    Raises:
        InputError: a directory has too few speakers, or two have the same name.
    """
    if len({directory.name for directory in directories}) < len(directories):
        raise InputError("two data directories have the same name, which their parts are called by")
    with atomic_directory(out) as folder:
        for directory in directories:
            utterances = read_data_dir(directory)
            counts = Counter(one.speaker for one in utterances if one.speaker is not None)
            known = sorted(speaker for speaker, count in counts.items() if count >= _LEAST)
            if not 2 <= speakers < len(known):
                raise InputError(
                    f"has {len(known)} speakers with {_LEAST} utterances; {speakers} cannot be held out",
                    path=directory,
                    hint="set --hold to fewer, but at least 2",
                )
            held = {known[index] for index in np.random.default_rng(seed).permutation(len(known))[:speakers]}
            for part, is_held in (("train", False), ("hold", True)):
                (folder / part / directory.name).mkdir(parents=True)
                chosen = [one for one in utterances if (one.speaker in held) is is_held and one.speaker]
                write_data_dir(folder / part / directory.name, chosen)


if __name__ == "__main__":
    sys.exit(main())
