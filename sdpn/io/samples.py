"""Samples given in Python: arrays and tensors of many kinds as frames (n, channels) in [-1, 1]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sdpn.errors import InputError
from sdpn.io.decoding import MOST_CHANNELS, RATES_HZ, Decoder, TruncatedAudio

#: Above this, samples are PCM that was only cast to float, and no recording made 20 dB louder.
LOUDEST = 32.0

_EXPECTED = "expected (samples,), (channels, samples) or (samples, channels)"


def scale(samples: np.ndarray) -> np.ndarray:
    """PCM of any kind as float32 in [-1, 1]; floats as they are.

    Raises:
        ValueError: the data type is not one of PCM.
    """
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype.kind == "i" and samples.dtype.itemsize <= 4:
        return samples.astype(np.float32) / np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
    raise ValueError(f"numbers of type {samples.dtype}")


class SamplesDecoder(Decoder):
    """Samples in memory.

    Args:
        samples: numpy array or torch tensor (S,), (channels, S) or (S, channels), the longer axis being time;
            floats in [-1, 1] or PCM of 8 (unsigned or signed), 16 or 32 bits.
        rate_hz: their rate.
        channels_first: whether a matrix must be (channels, S).

    Raises:
        InputError: they are not a waveform.
    """

    def __init__(self, samples: Any, rate_hz: Any, *, channels_first: bool = False) -> None:
        self._frames_SC = _as_frames(_as_array(samples), channels_first=channels_first)
        self.rate_hz = as_rate(rate_hz)
        self.num_channels = self._frames_SC.shape[1]
        self.length: int | None = len(self._frames_SC)
        self.expected_s: float | None = len(self._frames_SC) / self.rate_hz
        self.damage: TruncatedAudio | None = None
        self.is_float = self._frames_SC.dtype.kind == "f"

    def num_frames(self) -> int:
        """Its length."""
        return len(self._frames_SC)

    def frames(self, start: int, stop: int | None = None) -> Iterator[np.ndarray]:
        """As `Decoder.frames`."""
        block = max(1, (1 << 22) // self.num_channels)
        stop = len(self._frames_SC) if stop is None else min(stop, len(self._frames_SC))
        for at in range(start, stop, block):
            yield scale(self._frames_SC[at : min(stop, at + block)])

    def close(self) -> None:
        """Nothing to do."""


def _as_array(samples: Any) -> np.ndarray:
    if hasattr(samples, "detach"):  # a torch tensor; torch is not imported for this
        if str(samples.dtype) == "torch.bfloat16":  # numpy has no such numbers
            samples = samples.float()
        samples = samples.detach().cpu().numpy()
    if not isinstance(samples, np.ndarray):
        raise InputError(
            f"audio has the unsupported type {type(samples).__name__}",
            hint="expected a path, a binary file, an array or a tensor with its rate, or a mapping with "
            "'waveform' and 'sample_rate' or 'audio'",
        )
    if (
        samples.dtype.kind not in "fiu"
        or samples.dtype in (np.uint16, np.uint32)
        or (samples.dtype.kind in "iu" and samples.dtype.itemsize > 4)
    ):
        raise InputError(
            f"audio samples have the unsupported type {samples.dtype}",
            hint="expected floats in [-1, 1], or int16, int32 or uint8 as a WAV file holds them",
        )
    return samples


def _as_frames(samples: np.ndarray, *, channels_first: bool) -> np.ndarray:
    shape = samples.shape
    if samples.ndim not in (1, 2):
        raise InputError(f"audio of shape {shape}; {_EXPECTED}", hint="give one recording at a time")
    if samples.size == 0:
        raise InputError(f"audio of shape {shape} has no samples")
    if samples.ndim == 1:
        return samples[:, None]
    if min(shape) > MOST_CHANNELS:
        raise InputError(
            f"audio of shape {shape} would have {min(shape)} channels; {_EXPECTED}",
            hint=f"at most {MOST_CHANNELS} channels are supported; give a batch as a list",
        )
    if shape[0] == shape[1] > 1:
        raise InputError(f"audio of shape {shape}: the time axis is ambiguous", hint=_EXPECTED)
    if channels_first and shape[0] > shape[1]:
        raise InputError(f"a waveform of shape {shape}; expected (channels, samples)", hint="transpose it")
    return samples.T if shape[0] < shape[1] else samples


def as_rate(rate_hz: Any) -> int:
    """A sampling rate.

    Raises:
        InputError: it is none that is supported.
    """
    try:
        rate = int(rate_hz)
        whole = rate == float(rate_hz)
    except (TypeError, ValueError, OverflowError):
        rate, whole = 0, False
    if not whole or rate not in RATES_HZ:
        raise InputError(
            f"the sampling rate is {rate_hz!r}",
            hint=f"expected a whole number of Hz from {RATES_HZ.start} to {RATES_HZ.stop - 1}",
        )
    return rate
