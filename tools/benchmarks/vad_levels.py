"""Speech that the detector misses and adds beside loud sounds, and in recordings without speech.

python tools/benchmarks/vad_levels.py --conversations DIR... [--noise DIR]

Conversations of `sdpn simulate` (wav.scp, reference.rttm) as they are, and the first minute of every fourth
20 dB lower with something loud: a ring or music before it, a hum behind it, claps in it; and with half of the
speakers 30 dB below the others. NOISE holds folders of recordings without speech. Settings are those of the
pipeline.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdpn.diarization.pipeline import DiarizationConfig
from sdpn.diarization.vad import detect_speech
from sdpn.io import audio
from sdpn.io.kaldi import read_data_dir
from sdpn.io.rttm import Turn, read_rttm

RATE_HZ = audio.RATE_HZ


class ReadClip(NamedTuple):
    """A recording and its turns."""

    wave_S: np.ndarray
    turns: list[Turn]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--conversations", nargs="+", type=Path, required=True)
    parser.add_argument("--noise", type=Path)
    args = parser.parse_args()
    everything = [recording for folder in args.conversations for recording in conversations(folder)]
    rng = np.random.default_rng(0)
    low = [quieter(minute(recording), 20.0) for recording in everything[::4]]
    conditions: dict[str, list[ReadClip]] = {
        "as simulated": everything,
        "half of the speakers 30 dB lower": [lower_half(recording) for recording in everything[::2]],
        "a ring of 3 s before": [put_before(tone(3.0, 440.0), recording) for recording in low],
        "a ring of 20 s before": [put_before(tone(20.0, 440.0), recording) for recording in low],
        "music of 15 s before": [put_before(music(15.0, rng), recording) for recording in low],
        "a hum of 20 s behind": [
            ReadClip(np.concatenate([recording.wave_S, tone(20.0, 100.0)]), recording.turns)
            for recording in low
        ],
        "claps": [with_claps(recording, rng) for recording in low],
        "white noise": [ReadClip(rng.normal(scale=0.01, size=60 * RATE_HZ).astype(np.float32), [])],
    }
    if args.noise is not None:
        conditions["recorded noise"] = list(noises(args.noise))
    print("condition                         missed %  of s  added s  of s  CPU s per hour")
    for name, recordings in conditions.items():
        missed = added = spoken = silent = 0.0
        started = time.process_time()
        for recording in recordings:
            found = on_grid(detect_speech(recording.wave_S, DiarizationConfig().vad), recording)
            reference = on_grid([(turn.onset_s, turn.end_s) for turn in recording.turns], recording)
            missed, added = missed + (reference & ~found).sum(), added + (found & ~reference).sum()
            spoken, silent = spoken + reference.sum(), silent + (~reference).sum()
        hours = (spoken + silent) / 360_000
        print(
            f"{name:<34}{100 * missed / max(spoken, 1):8.2f} {spoken / 100:5.0f} {added / 100:8.1f}"
            f" {silent / 100:5.0f} {(time.process_time() - started) / hours:15.1f}",
            flush=True,
        )


def conversations(folder: Path) -> Iterator[ReadClip]:
    """What `sdpn simulate` made."""
    reference = read_rttm(folder / "reference.rttm")
    for recording in read_data_dir(folder):
        yield ReadClip(audio.read(recording.path), reference[recording.id])


def noises(folder: Path) -> Iterator[ReadClip]:
    """Sixteen recordings of each folder one after the other; crying babies have voices."""
    for kind in sorted(path for path in folder.iterdir() if path.is_dir() and "baby" not in path.name):
        yield ReadClip(np.concatenate([audio.read(path) for path in sorted(kind.iterdir())[:16]]), [])


def minute(recording: ReadClip) -> ReadClip:
    """The first minute."""
    turns = [
        Turn(turn.recording, turn.onset_s, min(turn.end_s, 60.0) - turn.onset_s, turn.speaker)
        for turn in recording.turns
        if turn.onset_s < 60.0
    ]
    return ReadClip(recording.wave_S[: 60 * RATE_HZ], turns)


def quieter(recording: ReadClip, by_db: float) -> ReadClip:
    """At a lower level."""
    return ReadClip(recording.wave_S * np.float32(10 ** (-by_db / 20)), recording.turns)


def lower_half(recording: ReadClip) -> ReadClip:
    """Every second speaker 30 dB lower wherever he speaks."""
    low = set(sorted({turn.speaker for turn in recording.turns})[::2])
    gain_S = np.ones(len(recording.wave_S), dtype=np.float32)
    for turn in recording.turns:
        if turn.speaker in low:
            gain_S[round(turn.onset_s * RATE_HZ) : round(turn.end_s * RATE_HZ)] = 10**-1.5
    return ReadClip(recording.wave_S * gain_S, recording.turns)


def put_before(sound_S: np.ndarray, recording: ReadClip) -> ReadClip:
    """A sound, then the conversation."""
    shift_s = len(sound_S) / RATE_HZ
    turns = [
        Turn(turn.recording, turn.onset_s + shift_s, turn.duration_s, turn.speaker)
        for turn in recording.turns
    ]
    return ReadClip(np.concatenate([sound_S, recording.wave_S]), turns)


def tone(duration_s: float, frequency_hz: float) -> np.ndarray:
    """A tone with its octave, as loud as 16 bits allow."""
    time_S = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    wave_S = np.sin(2 * np.pi * frequency_hz * time_S) + 0.3 * np.sin(4 * np.pi * frequency_hz * time_S)
    return (0.95 * wave_S / np.abs(wave_S).max()).astype(np.float32)


def music(duration_s: float, rng: np.random.Generator) -> np.ndarray:
    """Chords of plucked strings, two a second."""
    time_S = np.arange(RATE_HZ // 2) / RATE_HZ
    chords = []
    for _ in range(round(2 * duration_s)):
        notes_hz = rng.choice([220, 262, 330, 392, 440, 523, 659], 3, replace=False)
        partials = [np.sin(2 * np.pi * h * note * time_S) / h for note in notes_hz for h in (1, 2, 3)]
        chords.append(np.sum(partials, axis=0) * np.exp(-3 * time_S))
    wave_S = np.concatenate(chords)
    return (0.9 * wave_S / np.abs(wave_S).max()).astype(np.float32)


def with_claps(recording: ReadClip, rng: np.random.Generator) -> ReadClip:
    """A clap of 30 ms every 1.7 s or so."""
    wave_S = recording.wave_S.copy()
    decay = 0.9 * np.exp(-np.arange(480) / 128)
    for moment_s in np.arange(1.0, len(wave_S) / RATE_HZ - 1.0, 1.7):
        at = round((moment_s + rng.uniform(-0.5, 0.5)) * RATE_HZ)
        wave_S[at : at + 480] += (decay * rng.standard_normal(480)).astype(np.float32)
    return ReadClip(wave_S, recording.turns)


def on_grid(spans: Sequence[tuple[float, float]], recording: ReadClip) -> np.ndarray:
    """Which hundredths of a second lie in spans."""
    marked = np.zeros(len(recording.wave_S) * 100 // RATE_HZ, dtype=bool)
    for start_s, end_s in spans:
        marked[round(100 * start_s) : round(100 * end_s)] = True
    return marked


if __name__ == "__main__":
    main()
