"""A degraded copy of a corpus for testing, with noise and rooms from a fixed seed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from sdpn.augmentation.conditions import Condition, one_after_another, recorded_conditions, telephone
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory
from sdpn.io.audio import RATE_HZ
from sdpn.io.inputs import find_utterances
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


def degrade_corpus(
    data: Path,
    out: Path,
    *,
    noise: Path | None = None,
    rir: Path | None = None,
    snr_db: tuple[float, float] = (5.0, 15.0),
    over_telephone: bool = False,
    seed: int = 0,
    progress: Callable[[Sequence[Utterance]], Iterable[Utterance]] = iter,
) -> Degraded:
    """Copy a Kaldi data directory, or a folder of recordings, in rooms, then noise, then over the telephone.

    Args:
        data: the data directory or folder; its ``trials``, if there, are copied.
        out: the copy; an older copy is replaced.
        noise: data directory or folder of noises.
        rir: data directory or folder of room impulse responses.
        snr_db: range of the signal-to-noise ratio in dB.
        over_telephone: 300 to 3400 Hz, 8 bits of µ-law.
        seed: of everything that is drawn.
        progress: yields the utterances, and may show the progress.

    Raises:
        InputError: there is nothing to do, an argument or a recording is wrong, or ``out`` holds something
            else or cannot be written.
    """
    if noise is None and rir is None and not over_telephone:
        raise InputError("nothing to do", hint="give --noise, --rir or --telephone, or several of them")
    low, high = snr_db
    if not -math.inf < low <= high < math.inf:
        raise InputError(
            f"--snr {low:g} {high:g} is not a range", hint="expected LOW HIGH in dB, such as 5 15"
        )
    if out.is_dir() and any(out.iterdir()):
        _refuse_other_folders(out, data)
    utterances = find_utterances(data, [])
    conditions = recorded_conditions(noise=noise, rir=rir, snr_db=snr_db)
    if over_telephone:
        conditions.append(telephone)
    return degrade(
        progress(utterances), one_after_another(*conditions), out, seed=seed, trials=data / "trials"
    )


def _refuse_other_folders(out: Path, data: Path) -> None:
    """What stands at ``--out`` is replaced only where it is an older copy."""
    if out.resolve() == data.resolve() or out.resolve() in data.resolve().parents:
        raise InputError("--out would replace --data", path=out, hint="name a new folder")
    if not ((out / "wav.scp").is_file() and (out / "audio").is_dir()):
        raise InputError(
            "contains something other than a degraded copy, which would be lost",
            path=out,
            hint="name a new folder",
        )
