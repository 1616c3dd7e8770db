"""The local level of a recording over time, in one pass and for any length.

Speech detectors and speaker encoders miss more in quiet recordings, so samples are normalised in level first.
A single level for a whole recording would only be known at its end, and would be dominated by loud sounds
such as a ringing telephone. Here each frame has two levels: that of its surroundings, a minute on both sides,
and that of its neighbourhood, three seconds on the quieter side. Levels are proportional to the samples
(exactly so for powers of two), so the normalised signal does not depend on the gain of the file.

Shapes: S samples, T frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sdpn.io.audio import RATE_HZ

#: Samples per frame (32 ms).
FRAME = 512

#: Frames per chunk: 65.5 s. Recordings are processed in such chunks, counted from their start, so that
#: results do not depend on how the samples arrive.
CHUNK_FRAMES = 2048

#: Frames on each side that count as surroundings (a minute): all of a recording up to that length.
AROUND_FRAMES = round(60 * RATE_HZ / FRAME)
#: The level of the surroundings is updated after this many frames (about a second).
_STEP = 32
#: Percentile of the frames' RMS without digital silence: the level of speech, unless speech is less than a
#: twentieth of the time.
AROUND_PERCENTILE = 95

#: Frames on each side that count as neighbourhood (3 s), and the percentile of their RMS: a click of up to
#: 0.3 s is ignored.
NEAR_FRAMES = round(3 * RATE_HZ / FRAME)
NEAR_PERCENTILE = 90

#: Level of the added hiss, relative to the normalised level. At -25 dB, speakers of clean recordings were
#: merged.
_HISS_DB = -45.0

if not NEAR_FRAMES <= AROUND_FRAMES <= CHUNK_FRAMES:
    raise AssertionError("a chunk and its two neighbours must hold the surroundings of each of its frames")


class Levelled(NamedTuple):
    """A chunk of a recording and its levels, as RMS of the samples.

    Attributes:
        wave_S: its samples; `CHUNK_FRAMES` whole frames, fewer in the last chunk.
        rms_T: level of each frame; the last is filled up with zeros.
        around_T: level of each frame's surroundings; 0 in digital silence.
        near_T: level of its neighbourhood, on the quieter side: next to a loud sound, the level without it.
            In shorter recordings, the level of the surroundings.
    """

    wave_S: np.ndarray
    rms_T: np.ndarray
    around_T: np.ndarray
    near_T: np.ndarray


def levelled(blocks: Iterable[np.ndarray]) -> Iterator[Levelled]:
    """Cut a recording into chunks and measure their levels; each is returned once the next has been read.

    Args:
        blocks: its samples, float32, in pieces of any size.

    Returns:
        the chunks in order, none of them empty.
    """
    before_T = np.zeros(0)
    now: tuple[np.ndarray, np.ndarray] | None = None
    for wave_S in _chunks(blocks):
        rms_T = frame_rms(wave_S)
        if now is not None:
            yield _measured(now[0], before_T, now[1], rms_T)
            before_T = now[1]
        now = wave_S, rms_T
    if now is not None:
        yield _measured(now[0], before_T, now[1], np.zeros(0))


def hiss(num_samples: int) -> np.ndarray:
    """White noise 45 dB below a level of 1, (S,) float32, always the same.

    It is added to every network input, below the level that the samples are normalised to. The least
    significant bits of the samples, and so the level of a 16-bit file, then no longer affect the faintest
    sounds.
    """
    return _hiss(max(num_samples, CHUNK_FRAMES * FRAME + FRAME))[:num_samples]


@lru_cache(maxsize=2)
def _hiss(num_samples: int) -> np.ndarray:
    noise_S = np.random.default_rng(0).standard_normal(num_samples, dtype=np.float32)
    return noise_S * np.float32(10 ** (_HISS_DB / 20))


def frame_rms(wave_S: np.ndarray) -> np.ndarray:
    """RMS of each frame of 512 samples, (ceil(S / 512),) float64; the last is filled up with zeros."""
    padded = np.pad(wave_S, (0, -len(wave_S) % FRAME)).reshape(-1, FRAME).astype(np.float64)
    rms_T: np.ndarray = np.sqrt(np.einsum("ts,ts->t", padded, padded) / FRAME)
    return rms_T


def frame_levels(rms_T: np.ndarray) -> np.ndarray:
    """RMS as decibels relative to full scale, in whole ones from -120 to 0, (T,) int8: a day takes 2.7 MB."""
    level_db_T: np.ndarray = np.clip(np.rint(20 * np.log10(np.maximum(rms_T, 1e-6))), -120, 0)
    return level_db_T.astype(np.int8)


def _chunks(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    size = CHUNK_FRAMES * FRAME
    chunk_S, filled = np.empty(size, dtype=np.float32), 0
    for block_S in blocks:
        used = 0
        while used < len(block_S):
            taken = min(size - filled, len(block_S) - used)
            chunk_S[filled : filled + taken] = block_S[used : used + taken]
            filled, used = filled + taken, used + taken
            if filled == size:
                yield chunk_S
                chunk_S, filled = np.empty(size, dtype=np.float32), 0
    if filled:
        yield chunk_S[:filled]


def _measured(wave_S: np.ndarray, before_T: np.ndarray, rms_T: np.ndarray, after_T: np.ndarray) -> Levelled:
    all_T = np.concatenate([before_T, rms_T, after_T])
    first, count = len(before_T), len(rms_T)
    around_T = np.empty(count)
    for start in range(0, count, _STEP):
        at = first + start
        sounding = all_T[max(0, at - AROUND_FRAMES) : at + AROUND_FRAMES]
        sounding = sounding[sounding > 0]
        around_T[start : start + _STEP] = np.percentile(sounding, AROUND_PERCENTILE) if len(sounding) else 0.0
    near_T = _quieter_side(all_T)[first : first + count]
    return Levelled(wave_S, rms_T, around_T, np.where(np.isinf(near_T), around_T, near_T))


def _quieter_side(rms_T: np.ndarray) -> np.ndarray:
    """For each frame the lower of two levels: of it and those before, of it and those after.

    A side outside the recording is ignored; if both are, the level is infinite.
    """
    rank = int(np.ceil(NEAR_PERCENTILE / 100 * NEAR_FRAMES)) - 1
    nothing = np.full(NEAR_FRAMES - 1, np.inf)  # before the start and after the end
    windows = np.lib.stride_tricks.sliding_window_view(np.concatenate([nothing, rms_T, nothing]), NEAR_FRAMES)
    level_T = np.partition(windows, rank, axis=1)[:, rank]
    quieter_T: np.ndarray = np.minimum(level_T[: len(rms_T)], level_T[NEAR_FRAMES - 1 :])
    return quieter_T
