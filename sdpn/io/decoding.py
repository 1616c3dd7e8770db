"""What a decoder is: frames of a recording as they are stored, from any place on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from sdpn.errors import InputError

#: Rates beyond these are a damaged header, and resampling from them would need filters without end.
RATES_HZ = range(1000, 768001)

#: More channels than a microphone array has are a damaged header, or an array lying on its side.
MOST_CHANNELS = 64

REPAIR = "copy it again, or re-encode it to accept it as it is"


class TruncatedAudio(InputError):
    """The file breaks off before its end; what is there can be read."""


class Decoder(Protocol):
    """An opened recording.

    Attributes:
        rate_hz: frames per second.
        num_channels: samples per frame.
        length: frames, where they are known without decoding.
        expected_s: length in seconds that the header claims, or None.
        is_float: whether it holds floats, of which nothing says that they are in [-1, 1].
        damage: what is known to be missing before anything is decoded, or None.
    """

    rate_hz: int
    num_channels: int
    length: int | None
    expected_s: float | None
    is_float: bool
    damage: TruncatedAudio | None

    def num_frames(self) -> int:
        """Its length in frames, decoding all of it where nothing else tells.

        Raises:
            InputError: it cannot be decoded.
        """
        ...

    def frames(self, start: int, stop: int | None = None) -> Iterator[np.ndarray]:
        """Yield frames ``start`` … ``stop - 1`` (None: to the end) as float32 (n, channels), n > 0.

        Raises:
            TruncatedAudio: after all that is there.
            InputError: it cannot be decoded.
        """
        ...

    def close(self) -> None:
        """Let the file go."""
        ...


def truncated(path: str | os.PathLike[str], held: float, promised: float) -> TruncatedAudio:
    """The error for a file that holds less than its header says."""
    return TruncatedAudio(
        f"is truncated: {100 * held / promised:.1f} % of what its header promises is there",
        path=path,
        hint=REPAIR,
    )


def check_header(rate_hz: int, num_channels: int, path: str | os.PathLike[str]) -> None:
    """Refuse rates and numbers of channels that no recording has.

    Raises:
        InputError: it is so.
    """
    if rate_hz not in RATES_HZ:
        raise InputError(f"its header says {rate_hz} samples per second", path=path, hint="is it damaged?")
    if not 1 <= num_channels <= MOST_CHANNELS:
        raise InputError(
            f"its header says {num_channels} channels, at most {MOST_CHANNELS} are read",
            path=path,
            hint="is it damaged?",
        )
