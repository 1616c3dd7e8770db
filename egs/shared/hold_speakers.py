#!/usr/bin/env python3
"""Divide data directories by speaker: OUT/train/NAME to train on, OUT/hold/NAME, with trials, to choose with.

Held out are --speakers of each directory that have four utterances or more, drawn at random (of those whose
names begin with --prefix), or those whose names --names lists, one to a line.
"""

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
from sdpn.io.kaldi import Utterance, read_data_dir, write_data_dir
from sdpn.io.text import numbered_lines
from sdpn.training.comparison import trial_file

#: Utterances that a held-out speaker needs: trials of the same speaker are made of them.
_LEAST = 4
#: Trials that are drawn, at most.
_MOST_TRIALS = 50_000


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--data", type=Path, action="append", required=True, help="data directory with utt2spk; repeatable"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make; an old one is replaced")
    parser.add_argument("--speakers", type=int, default=14, help="held out of each; default %(default)s")
    parser.add_argument("--prefix", default="", help="of the names of those who may be drawn; default: all")
    parser.add_argument("--names", type=Path, metavar="FILE", help="instead: these speakers, one to a line")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    names = None if args.names is None else {text for _, text in numbered_lines(args.names)}
    hold_speakers(args.data, args.out, args.speakers, args.seed, names, prefix=args.prefix)


def hold_speakers(
    directories: Sequence[Path],
    out: Path,
    speakers: int,
    seed: int,
    names: set[str] | None = None,
    *,
    prefix: str = "",
) -> None:
    """Write both parts of every directory.

    Args:
        directories: Kaldi data directories; utterances without a speaker are left out.
        out: what is made.
        speakers: how many to hold out of each.
        seed: of the choice, and of the trials.
        names: those to hold out, instead.
        prefix: of the names of those who may be drawn.

    Raises:
        InputError: a directory has not enough speakers, two have the same name, or a name is in none.
    """
    if len({directory.name for directory in directories}) < len(directories):
        raise InputError("two data directories have the same name, which their parts are called by")
    spoken = {
        directory: [one for one in read_data_dir(directory) if one.speaker] for directory in directories
    }
    if names is not None:
        known = {one.speaker for utterances in spoken.values() for one in utterances}
        unknown = sorted(names - known)
        if unknown:
            raise InputError(
                f"{len(unknown)} of the speakers to hold out are in no --data, such as {unknown[0]!r}"
            )
    with atomic_directory(out) as folder:
        for directory, utterances in spoken.items():
            held = _drawn(directory, utterances, speakers, seed, prefix) if names is None else names
            for part, is_held in (("train", False), ("hold", True)):
                chosen = [one for one in utterances if (one.speaker in held) is is_held]
                if not chosen:  # names may be of other directories, or of all its speakers
                    continue
                target = folder / part / directory.name
                target.mkdir(parents=True)
                write_data_dir(target, chosen)
                if is_held:
                    trial_file(target, target / "trials", most=_MOST_TRIALS, seed=seed)


def _drawn(
    directory: Path, utterances: Sequence[Utterance], speakers: int, seed: int, prefix: str
) -> set[str]:
    counts = Counter(one.speaker for one in utterances if one.speaker and one.speaker.startswith(prefix))
    known = sorted(speaker for speaker, count in counts.items() if speaker and count >= _LEAST)
    if not 2 <= speakers < len(known):
        raise InputError(
            f"has {len(known)} speakers with {_LEAST} utterances; {speakers} cannot be held out",
            path=directory,
            hint="hold out fewer, but at least 2",
        )
    return {known[index] for index in np.random.default_rng(seed).permutation(len(known))[:speakers]}


if __name__ == "__main__":
    sys.exit(main())
