"""What a page needs of a recording to be looked at and listened to: peaks of the waveform, and its sound."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.io.audio import RATE_HZ, Channel, open_audio

#: Speech is clear at this rate, and an hour of it is 7 MB. libopus's least effort sounds the same here and
#: takes 8 CPU seconds an hour; its most, libsndfile's only choice, takes 114.
_BITS_PER_S, _EFFORT = 16_000, "0"

# so many peaks a second, but no more than that in a page: a day has 7 a second, in 0.8 MB
_PEAKS_PER_S, _MOST_PEAKS = 20, 600_000


@dataclass(frozen=True, kw_only=True)
class Listening:
    """A recording to look at and listen to.

    Attributes:
        duration_s: its length in seconds.
        peaks_P: uint8, the largest absolute sample of each of P equal stretches, 255 for the loudest.
        opus: the sound as Ogg Opus, mono; None where it is in a file of its own.
    """

    duration_s: float
    peaks_P: np.ndarray
    opus: bytes | None


def listen(
    audio: Path, *, sound: Path | None = None, channel: Channel = None, keep_truncated: bool = False
) -> Listening:
    """Read a recording once, a few seconds at a time.

    Args:
        audio: its file.
        sound: where to write the sound, for a recording whose sound does not belong into memory (173 MB for a
            day); None keeps it.
        channel: as in `sdpn.io.audio.open_audio`.
        keep_truncated: read a truncated file as far as it goes.

    Raises:
        InputError: it cannot be read.
        OSError: the sound cannot be written.
    """
    import av

    peaks: list[np.ndarray] = []
    step = RATE_HZ // _PEAKS_PER_S
    read = 0
    with (
        open_audio(audio, channel=channel, keep_truncated=keep_truncated) as stream,
        io.BytesIO() if sound is None else open(sound, "wb") as encoded,
        av.open(encoded, "w", format="ogg") as container,
    ):
        options = {"compression_level": _EFFORT, "application": "voip", "frame_duration": "60"}
        track: Any = container.add_stream("libopus", rate=RATE_HZ, layout="mono", options=options)
        track.bit_rate = _BITS_PER_S
        left = np.zeros(0, dtype=np.float32)
        for block in stream.blocks():
            samples = np.rint(np.clip(block, -1.0, 1.0) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, read, Fraction(1, RATE_HZ)
            container.mux(track.encode(frame))
            read += len(block)
            left = np.concatenate([left, block])
            whole = len(left) // step * step
            peaks.append(np.abs(left[:whole].reshape(-1, step)).max(axis=1))
            left = left[whole:]
        if len(left):
            peaks.append(np.abs(left).max(keepdims=True))
        container.mux(track.encode(None))
        container.close()  # writes the end
        opus = encoded.getvalue() if isinstance(encoded, io.BytesIO) else None
    every_P = np.concatenate(peaks) if peaks else np.zeros(0, dtype=np.float32)
    return Listening(duration_s=read / RATE_HZ, peaks_P=_as_bytes(every_P), opus=opus)


def _as_bytes(peaks_P: np.ndarray) -> np.ndarray:
    """Fewer peaks where there are too many, scaled to 0 to 255."""
    width = math.ceil(len(peaks_P) / _MOST_PEAKS) or 1
    padded = np.pad(peaks_P, (0, -len(peaks_P) % width)).reshape(-1, width).max(axis=1, initial=0.0)
    loudest = float(padded.max(initial=0.0)) or 1.0
    return np.rint(255 * padded / loudest).astype(np.uint8)
