"""The decoder interface: the stored frames of a recording, from any position."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from sdpn.errors import InputError

#: Rates outside this range indicate a damaged header, and resampling from them would need huge filters.
RATES_HZ = range(1000, 768001)

#: More channels than any microphone array has indicate a damaged header, or a transposed array.
MOST_CHANNELS = 64

REPAIR = "copy it again, or re-encode it to accept it as it is"


class TruncatedAudio(InputError):
    """The file is truncated; the part that is there can be read."""


class Decoder(Protocol):
    """An opened recording.

    Attributes:
        rate_hz: frames per second.
        num_channels: samples per frame.
        length: frames, where they are known without decoding.
        expected_s: length in seconds according to the header, or None.
        is_float: whether samples are floats, which need not be in [-1, 1].
        damage: a description of missing data known before decoding, or None.
    """

    rate_hz: int
    num_channels: int
    length: int | None
    expected_s: float | None
    is_float: bool
    damage: TruncatedAudio | None

    def num_frames(self) -> int:
        """Its length in frames; decodes all of it if the length is not known otherwise.

        Raises:
            InputError: it cannot be decoded.
        """
        ...

    def frames(self, start: int, stop: int | None = None) -> Iterator[np.ndarray]:
        """Yield frames ``start`` … ``stop - 1`` (None: to the end) as float32 (n, channels), n > 0.

        Raises:
            TruncatedAudio: after the last available frame.
            InputError: it cannot be decoded.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def truncated(path: str | os.PathLike[str], held: float, promised: float) -> TruncatedAudio:
    """The error for a file that is shorter than its header promises."""
    return TruncatedAudio(
        f"is truncated: {100 * held / promised:.1f} % of the size in its header is present",
        path=path,
        hint=REPAIR,
    )


def check_header(rate_hz: int, num_channels: int, path: str | os.PathLike[str]) -> None:
    """Reject implausible sampling rates and numbers of channels.

    Raises:
        InputError: the header is implausible.
    """
    if rate_hz not in RATES_HZ:
        raise InputError(
            f"its header has a sampling rate of {rate_hz} Hz", path=path, hint="it may be damaged"
        )
    if not 1 <= num_channels <= MOST_CHANNELS:
        raise InputError(
            f"its header has {num_channels} channels; at most {MOST_CHANNELS} are supported",
            path=path,
            hint="it may be damaged",
        )
