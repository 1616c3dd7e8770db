#!/usr/bin/env python3
"""Copies of a data directory's speech at other speeds, each speaker at each speed a speaker of its own.

    local/perturb_speed.py --data data/train --speeds 0.9 1.1 --out data/train_speeds

OUT holds the originals and, as FLAC below OUT/audio, the copies; their ids begin with sp0.9-, as in Kaldi's
recipes. A classifier of three times the voices learns more than from the originals alone.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from sdpn.data.speed import change_speed, samples_needed, speed_fraction
from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance, read_data_dir, write_data_dir


def perturb(utterance: Utterance, factor: float, folder: Path) -> Utterance:
    """Write one copy; returns it."""
    speed = speed_fraction(factor)
    wave = utterance.read()
    margin = samples_needed(0, speed) // 2 + 1
    num_samples = int(len(wave) / speed)
    padded = np.pad(wave, (margin, 2 * margin))
    copy = change_speed(padded[: samples_needed(num_samples, speed)], speed, num_samples)
    prefix = f"sp{factor:g}-"
    path = folder / f"{prefix}{utterance.id}.flac"
    soundfile.write(path, np.clip(copy, -1.0, 1.0), RATE_HZ, subtype="PCM_16")
    speaker = None if utterance.speaker is None else prefix + utterance.speaker
    return replace(utterance, id=prefix + utterance.id, path=path, start_s=0.0, end_s=None, speaker=speaker)


def whole(utterance: Utterance, folder: Path) -> Utterance:
    """An utterance as a file of its own: a data directory of files holds no segments."""
    if utterance.start_s == 0.0 and utterance.end_s is None:
        return utterance
    path = folder / f"{utterance.id}.flac"
    soundfile.write(path, utterance.read(), RATE_HZ, subtype="PCM_16")
    return replace(utterance, path=path, start_s=0.0, end_s=None)


def main() -> None:
    """Read, resample, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="Kaldi data directory")
    parser.add_argument("--speeds", type=float, nargs="+", default=[0.9, 1.1], help="default: 0.9 1.1")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="Kaldi data directory to write"
    )
    parser.add_argument("--nj", type=int, default=os.cpu_count() or 1, help="processes (default: processors)")
    args = parser.parse_args()
    if any(not 0.5 <= speed <= 2 or speed == 1 for speed in args.speeds):
        parser.error("--speeds must lie between 0.5 and 2, without 1")
    folder = args.out / "audio"
    try:
        utterances = read_data_dir(args.data)
        folder.mkdir(parents=True, exist_ok=True)
        copies = [whole(utterance, folder) for utterance in utterances]
        with ProcessPoolExecutor(args.nj) as pool:
            for speed in args.speeds:
                work = partial(perturb, factor=speed, folder=folder)
                copies += tqdm(
                    pool.map(work, utterances, chunksize=16), f"speed {speed:g}", len(utterances), leave=False
                )
        write_data_dir(args.out, copies)
    except InputError as error:
        raise SystemExit(f"perturb_speed.py: error: {error}") from None
    print(f"{len(copies)} utterances: {args.out}")


if __name__ == "__main__":
    main()
