"""Samples that arrive in pieces of any size, at any rate, become ticks of one length.

Everything behind it happens once for each tick, so that results do not depend on how the samples arrive.

Shapes: S samples, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ
from sdpn.io.resampling import StreamResampler
from sdpn.io.samples import LOUDEST, as_rate, scale


class SampleBuffer:
    """Cuts a stream into ticks of 16 kHz mono; holds less than a tick, and what the resampler needs.

    Args:
        tick: samples of a tick.
    """

    def __init__(self, tick: int) -> None:
        self._tick = tick
        self._rate_hz = 0
        self._resampler: StreamResampler | None = None
        self._rest_S = np.zeros(0, dtype=np.float32)

    def push(self, samples: Any, rate_hz: int) -> Iterator[np.ndarray]:
        """Take the next samples.

        Args:
            samples: (S,), or (S, C) whose channels are averaged; an array of floats in [-1, 1] or PCM of 8,
                16 or 32 bits. It may be empty.
            rate_hz: their rate. Where it changes, what is left at the old rate is resampled first.

        Yields:
            (tick,) float32.

        Raises:
            InputError: not samples, not finite, or far beyond [-1, 1]; or not a rate.
        """
        mono_S, rate_hz = _mono(samples), as_rate(rate_hz)
        if rate_hz != self._rate_hz:
            yield from self._ticks(self._old_rate())
            self._rate_hz = rate_hz
            self._resampler = StreamResampler(self._rate_hz, RATE_HZ, block=self._tick)
        assert self._resampler is not None
        if len(mono_S):
            yield from self._ticks(self._resampler.push(mono_S))

    def finish(self) -> Iterator[np.ndarray]:
        """End the stream, and start another; yields the last ticks, of which the very last may be shorter."""
        yield from self._ticks(self._old_rate())
        self._rate_hz = 0
        if len(self._rest_S):
            yield self._rest_S
            self._rest_S = np.zeros(0, dtype=np.float32)

    def _old_rate(self) -> Iterator[np.ndarray]:
        resampler, self._resampler = self._resampler, None
        if resampler is not None:
            yield from resampler.finish()

    def _ticks(self, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for piece_S in pieces:
            self._rest_S = np.concatenate([self._rest_S, piece_S]) if len(self._rest_S) else piece_S
            while len(self._rest_S) >= self._tick:
                tick_S, self._rest_S = self._rest_S[: self._tick], self._rest_S[self._tick :]
                yield tick_S


def _mono(samples: Any) -> np.ndarray:
    if hasattr(samples, "detach"):  # a torch tensor
        samples = samples.detach().cpu().numpy()
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[1] == 0):
        raise InputError(
            f"samples of shape {samples.shape}", hint="expected (samples,) or (samples, channels)"
        )
    try:
        mono_S: np.ndarray = scale(samples)
    except ValueError as error:
        raise InputError(
            f"samples cannot be {error}", hint="expected floats in [-1, 1], or PCM as int16, int32 or uint8"
        ) from error
    if mono_S.ndim == 2:
        mono_S = mono_S.mean(axis=1)
    if not np.isfinite(mono_S).all():
        bad = int((~np.isfinite(mono_S)).sum())
        raise InputError(
            f"contains {bad} NaN or infinite samples of {mono_S.size}",
            hint="float samples must be finite and in [-1, 1]",
        )
    most = float(np.abs(mono_S).max()) if mono_S.size else 0.0
    if most > LOUDEST:
        raise InputError(
            f"contains samples up to {most:.0f}; float samples are expected in [-1, 1]",
            hint="divide 16-bit PCM by 32768",
        )
    return mono_S
