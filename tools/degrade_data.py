"""A copy of a data directory whose utterances are in rooms and noise, to test on.

    python tools/degrade_data.py --data exp/held_out/valid --noise data/noise --rir data/rir \\
        --out exp/held_out/noisy

Every utterance gets one of the measured rooms of --rir and one of the noises of --noise at a ratio drawn from
--snr-db, from a fixed seed. Ids, speakers and trials stay as they are.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from sdpn.augmentation.conditions import Condition, measured_room, noise_at, one_after_another
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance, read_data_dir, write_data_dir


def main() -> None:
    """Read, degrade, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="Kaldi data directory")
    parser.add_argument("--noise", type=Path, metavar="DIR", help="data directory of noises")
    parser.add_argument("--rir", type=Path, metavar="DIR", help="data directory of room impulse responses")
    parser.add_argument("--snr-db", type=float, nargs=2, default=(5.0, 15.0), metavar=("LOW", "HIGH"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    args = parser.parse_args()
    conditions: list[Condition] = []
    try:
        if args.rir is not None:
            conditions.append(measured_room([entry.read() for entry in read_data_dir(args.rir)]))
        if args.noise is not None:
            clips = [entry.read() for entry in read_data_dir(args.noise)]
            conditions.append(noise_at(clips, tuple(args.snr_db)))
        if not conditions:
            raise InputError("neither --noise nor --rir was given", hint="give one of them or both")
        degrade(args.data, one_after_another(*conditions), args.seed, args.out)
    except InputError as error:
        parser.exit(2, f"degrade_data.py: error: {error}\n")


def degrade(data: Path, condition: Condition, seed: int, out: Path) -> None:
    """Write a data directory with every utterance in a condition."""
    rng = np.random.default_rng(seed)
    utterances = read_data_dir(data)
    out = out.resolve()
    with atomic_directory(out) as folder:
        (folder / "audio").mkdir()
        written = []
        for utterance in tqdm(utterances, desc="degrading", unit="utterance"):
            wave = condition(utterance.read(), rng)
            wave = wave / max(1.0, float(np.abs(wave).max()))  # 16 bits end at 1
            soundfile.write(folder / f"audio/{utterance.id}.flac", wave, RATE_HZ)
            written.append(
                Utterance(utterance.id, out / f"audio/{utterance.id}.flac", speaker=utterance.speaker)
            )
        write_data_dir(folder, written)
        if (data / "trials").is_file():
            shutil.copyfile(data / "trials", folder / "trials")


if __name__ == "__main__":
    main()
