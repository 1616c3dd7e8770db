"""Synthetic conversations of clean utterances, with exact ground truth."""

from __future__ import annotations

import numpy as np
from acoustics import NOISE_COLOURS, add_noise, babbling_noise, reverberate, room, set_level

from sdpn.io.audio import RATE_HZ
from sdpn.io.rttm import Turn

#: Frame of the energy measure, in samples (10 ms).
_FRAME = RATE_HZ // 100
#: Speech: frames less than this far below the loudest frame of the utterance.
_FLOOR_DB = 40.0
#: Shorter silences inside an utterance (closures of plosives, short breaths) count as speech, in seconds.
_PAUSE_S = 0.25


def speech_stretches(samples: np.ndarray) -> list[tuple[float, float]]:
    """Find the speech in a clean utterance.

    Args:
        samples: (S,) at 16 kHz, without noise.

    Returns:
        (start, end) in seconds, ascending; empty for silence.
    """
    num_frames = len(samples) // _FRAME
    energy = np.mean(samples[: num_frames * _FRAME].reshape(num_frames, _FRAME) ** 2, axis=1)
    if num_frames == 0 or energy.max() <= 0:
        return []
    active = np.flatnonzero(energy > energy.max() * 10 ** (-_FLOOR_DB / 10))
    breaks = np.flatnonzero(np.diff(active) * 0.01 > _PAUSE_S + 0.01)
    starts = np.concatenate([active[:1], active[breaks + 1]])
    ends = np.concatenate([active[breaks], active[-1:]]) + 1
    return [(float(start) / 100, float(end) / 100) for start, end in zip(starts, ends, strict=True)]


def trim(samples: np.ndarray) -> np.ndarray:
    """``samples`` (S,) without the silence before and after the speech."""
    stretches = speech_stretches(samples)
    if not stretches:
        return samples[:0]
    return samples[round(stretches[0][0] * RATE_HZ) : round(stretches[-1][1] * RATE_HZ)]


def converse(
    rng: np.random.Generator, recording: str, utterances: dict[str, list[np.ndarray]], duration_s: float
) -> tuple[np.ndarray, list[Turn]]:
    """Simulate a conversation in one room, until the time or the utterances are used up.

    One turn in four overlaps the previous one; otherwise there is a pause of 0.1 to 1.2 s. All speakers have
    different positions in the same room, with the same noise.

    Args:
        rng: random generator.
        recording: id of the conversation.
        utterances: by speaker, trimmed clean utterances (S,) at 16 kHz in the order of use.
        duration_s: length of the result.

    Returns:
        (S,) float32, and the turns, sorted.
    """
    mix = np.zeros(round(duration_s * RATE_HZ), np.float32)
    waiting = {speaker: list(queue) for speaker, queue in utterances.items()}
    reverberation_s = rng.uniform(0.15, 0.45)
    places = {speaker: room(rng, reverberation_s, rng.uniform(4.0, 12.0)) for speaker in utterances}
    levels_db = {speaker: rng.uniform(-29.0, -23.0) for speaker in utterances}
    turns: list[Turn] = []
    # every speaker once before any twice
    order = [str(name) for name in rng.permutation(sorted(utterances))]
    last, end_s, last_length_s = "", rng.uniform(0.2, 1.0), 0.0
    while True:
        candidates = [name for name, queue in waiting.items() if queue and name != last]
        if not candidates:
            break
        speaker = order.pop(0) if order else str(rng.choice(candidates))
        clean = set_level(waiting[speaker].pop(0), levels_db[speaker])
        length_s = len(clean) / RATE_HZ
        if last and rng.random() < 1 / 4:
            start_s = end_s - rng.uniform(0.1, 0.4) * min(length_s, last_length_s)
        else:
            start_s = end_s + (rng.uniform(0.1, 1.2) if last else 0.0)
        start = round(start_s * 100) * _FRAME  # on the frames that the reference counts in
        if start + len(clean) > len(mix):
            break
        mix[start : start + len(clean)] += reverberate(clean, places[speaker])
        turns += [
            Turn(recording, start / RATE_HZ + from_s, to_s - from_s, speaker)
            for from_s, to_s in speech_stretches(clean)
        ]
        last, end_s, last_length_s = speaker, start / RATE_HZ + length_s, length_s
    colour = NOISE_COLOURS[str(rng.choice(sorted(NOISE_COLOURS)))]
    noisy = add_noise(mix, babbling_noise(rng, len(mix), colour), rng.uniform(15.0, 25.0))
    peak = float(np.max(np.abs(noisy)))
    return noisy * min(1.0, 0.95 / peak), sorted(turns)
