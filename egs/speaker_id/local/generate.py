#!/usr/bin/env python3
"""Generate a folder in the exercise's layout: noise with a spectrum for each speaker, in place of speech.

Every utterance has its own channel, a random tilt, and a random length. The answers of the test utterances go
into OUT/answers.csv, which no training reads.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sdpn.cli.script import script
from sdpn.data.mel_folder import TESTDATA, write_mel_folder
from sdpn.io.atomic import atomic_directory
from sdpn.io.json_text import read_json


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make; an old one is replaced")
    parser.add_argument("--speakers", type=int, default=20, help="default 20")
    parser.add_argument("--utterances", type=int, default=8, help="of each speaker; default 8")
    parser.add_argument("--test", type=int, default=2, help="further ones for the test; default 2")
    parser.add_argument("--n_mels", type=int, default=40, help="default 40")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    generate(args)


def generate(args: argparse.Namespace) -> None:
    """Write the folder."""
    rng = np.random.default_rng(args.seed)
    # what tells speakers apart survives the subtraction of the mean: how much each band moves, and with which
    spread = np.exp(rng.normal(0.0, 0.5, size=(args.speakers, args.n_mels)))
    mix = rng.normal(size=(args.speakers, args.n_mels, 4))
    names = [f"id{number:05d}" for number in range(1, args.speakers + 1)]

    def utterance(speaker: int) -> np.ndarray:
        frames = int(rng.integers(60, 300))
        own = rng.normal(size=(frames, args.n_mels)) * spread[speaker]
        tilt = rng.normal(0.0, 2.0) * np.linspace(-1.0, 1.0, args.n_mels)
        mel: np.ndarray = own + rng.normal(size=(frames, 4)) @ mix[speaker].T + tilt - 8.0
        return mel

    everyone = [speaker for speaker in range(args.speakers) for _ in range(args.utterances)]
    asked = [int(one) for one in rng.permutation(np.repeat(np.arange(args.speakers), args.test))]
    with atomic_directory(args.out) as folder:
        write_mel_folder(
            folder,
            ((names[one], utterance(one)) for one in everyone),
            (utterance(one) for one in asked),
            num_mels=args.n_mels,
        )
        if asked:
            told = read_json(folder / TESTDATA, "list of test utterances")["utterances"]
            rows = [f"{one['feature_path']},{names[who]}" for one, who in zip(told, asked, strict=True)]
            (folder / "answers.csv").write_text("\n".join(["Id,Category", *rows]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
