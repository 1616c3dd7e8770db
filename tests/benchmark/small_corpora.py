"""Corpora in the benchmark's layout, small enough to measure in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import lfilter

RATE_HZ = 16000


def voice(number: int, rng: np.random.Generator, seconds: float = 1.5) -> np.ndarray:
    """Noise with two resonances, which are the voice, and a third, which is the utterance."""
    poles = np.array([0.95, 0.9, 0.7]) * np.exp(
        1j * np.pi * np.array([0.05 + 0.04 * number, 0.3 + 0.08 * number, rng.uniform(0.1, 0.9)])
    )
    white = rng.standard_normal(round(seconds * RATE_HZ))
    wave = lfilter([1.0], np.poly(np.concatenate([poles, poles.conj()])).real, white)
    return np.asarray(0.2 * wave / np.abs(wave).max())


def write(path: Path, wave: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, RATE_HZ)


def write_corpora(folder: Path) -> Path:
    """Two dev corpora of four voices with three utterances; held-out speakers, a meeting, noises, rooms."""
    rng = np.random.default_rng(0)
    for corpus, names in (
        ("speechocean762", ["0001", "0002", "0003", "0004"]),
        ("commonvoice", ["en-a", "en-b", "de-c", "de-d"]),
    ):
        utterances = []
        for number, name in enumerate(names):
            for index in range(3):
                write(folder / corpus / "dev" / name / f"{name}x{index}.wav", voice(number, rng))
                # as the two corpora call them: by stem, and by path
                stem = f"{name}x{index}"
                utterances.append((name, stem if corpus == "speechocean762" else f"{name}/{stem}"))
        lines = [
            f"{int(a[0] == b[0])} {a[1]} {b[1]}\n"
            for place, a in enumerate(utterances)
            for b in utterances[:place]
        ]
        (folder / corpus / "dev_trials").write_text("".join(lines))
    for speaker in ("32", "118", "19"):  # the last is not held out
        for index in range(3):
            number = int(speaker) % 5
            write(
                folder / "librispeech_excerpt/more" / speaker / f"{speaker}-{index}.wav", voice(number, rng)
            )
    write(folder / "ami_excerpt/dev00.wav", voice(1, rng, 4.0))
    (folder / "ami_excerpt/reference.rttm").write_text("SPEAKER dev00 1 0.5 2.0 <NA> <NA> A <NA> <NA>\n")
    (folder / "ami_excerpt/reference.uem").write_text("dev00 1 0.0 4.0\n")
    for name in ("1-1-A", "4-2-A", "4-3-A"):
        write(folder / f"noise/rain/{name}.wav", 0.1 * rng.standard_normal(RATE_HZ))
    for name in ("cinema-hall", "kitchen"):
        decay = np.exp(-np.arange(4000) / 800)
        write(folder / f"rir/{name}.wav", 0.3 * decay * rng.standard_normal(4000))
    return folder
