"""A degraded copy of a corpus for testing, with noise and rooms from a fixed seed."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from sdpn.augmentation.conditions import Condition
from sdpn.io.atomic import atomic_directory
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance, write_data_dir


class Degraded(NamedTuple):
    """Result of `degrade`.

    Attributes:
        num_utterances: number of utterances.
        duration_s: total duration, in seconds.
        num_scaled: number of utterances attenuated to avoid clipping.
    """

    num_utterances: int
    duration_s: float
    num_scaled: int


def degrade(
    utterances: Iterable[Utterance],
    condition: Condition,
    out: Path,
    *,
    seed: int = 0,
    trials: Path | None = None,
) -> Degraded:
    """Write degraded utterances as a Kaldi data directory, in FLAC of 16 kHz and 16 bits.

    Ids and speakers are unchanged. One generator is used for all utterances in order.

    Args:
        utterances: from `sdpn.io.kaldi.read_data_dir`.
        condition: degradation, see `sdpn.augmentation.conditions`.
        out: output folder, written atomically; an existing one is replaced.
        seed: random seed.
        trials: a list of trials to copy, if it exists.

    Raises:
        InputError: an utterance cannot be read, or the folder cannot be written.
    """
    rng = np.random.default_rng(seed)
    out = out.resolve()
    written: list[Utterance] = []
    num_samples = num_scaled = 0
    with atomic_directory(out) as folder:
        (folder / "audio").mkdir()
        for number, utterance in enumerate(utterances):
            wave = condition(utterance.read(), rng)
            peak = float(np.abs(wave).max(initial=0.0))
            # ids may contain slashes, or be too long for a file name
            name = f"audio/{number:08d}.flac"
            soundfile.write(folder / name, wave / max(1.0, peak), RATE_HZ)
            written.append(Utterance(utterance.id, out / name, speaker=utterance.speaker))
            num_samples += len(wave)
            num_scaled += peak > 1.0
        write_data_dir(folder, written)
        if trials is not None and trials.is_file():
            shutil.copyfile(trials, folder / "trials")
    return Degraded(len(written), num_samples / RATE_HZ, num_scaled)
