#!/usr/bin/env python3
"""Hold out speakers of a training data directory for choosing settings: a smaller training set, and trials.

    local/hold_out.py --data exp/real/data/train --prefix speechocean762 --out exp/real/held_out

Writes OUT/train (the other speakers) and OUT/valid (the held-out ones, with trials: all pairs of utterances
of one speaker, and ten times as many random pairs of different speakers).
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from sdpn.cli.script import script
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.kaldi import Utterance, read_data_dir, write_data_dir


def hold_out(
    utterances: list[Utterance], *, prefix: str, num_speakers: int, seed: int
) -> tuple[list[Utterance], list[Utterance]]:
    """Split by speaker: (others, held out)."""
    speakers = sorted({u.speaker for u in utterances if u.speaker and u.speaker.startswith(prefix)})
    if len(speakers) <= num_speakers:
        raise InputError(
            f"only {len(speakers)} speakers begin with {prefix!r}; {num_speakers} cannot be held out"
        )
    random.Random(seed).shuffle(speakers)
    held = set(speakers[:num_speakers])
    return (
        [u for u in utterances if u.speaker not in held],
        [u for u in utterances if u.speaker in held],
    )


def trial_lines(utterances: list[Utterance], *, seed: int) -> list[str]:
    """Trials ``1 a b`` and ``0 a b``."""
    by_speaker: dict[str, list[str]] = {}
    for utterance in utterances:
        assert utterance.speaker is not None
        by_speaker.setdefault(utterance.speaker, []).append(utterance.id)
    lines = [
        f"1 {first} {second}"
        for ids in by_speaker.values()
        for place, first in enumerate(ids)
        for second in ids[place + 1 :]
    ]
    rng = random.Random(seed)
    for _ in range(10 * len(lines)):
        one, other = rng.sample(sorted(by_speaker), 2)
        lines.append(f"0 {rng.choice(by_speaker[one])} {rng.choice(by_speaker[other])}")
    return lines


@script
def main() -> None:
    """Read, split, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="data directory with utt2spk")
    parser.add_argument("--prefix", default="", help="hold out only speakers whose id begins with this")
    parser.add_argument(
        "--speakers", type=int, default=25, metavar="N", help="number of held-out speakers (default: 25)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the choice (default: 1)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    args = parser.parse_args()
    others, held = hold_out(
        list(read_data_dir(args.data)), prefix=args.prefix, num_speakers=args.speakers, seed=args.seed
    )
    write_data_dir(args.out / "train", others)
    write_data_dir(args.out / "valid", held)
    lines = trial_lines(held, seed=args.seed + 1)
    atomic_write_text(args.out / "valid/trials", "\n".join(lines) + "\n")
    print(f"{len(others)} utterances to train on, {len(held)} held out, {len(lines)} trials: {args.out}")


if __name__ == "__main__":
    sys.exit(main())
