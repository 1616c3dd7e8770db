"""Utterances that are embedded again and again stay in memory, as far as there is room.

Shapes: S samples.
"""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple

import numpy as np

from sdpn.io.kaldi import Utterance


class Decoded(NamedTuple):
    """An utterance as it was read.

    Attributes:
        duration_s: its length in the file.
        wave_S: its samples, float32 at 16 kHz.
    """

    duration_s: float
    wave_S: np.ndarray


class AudioCache:
    """Samples of utterances by utterance, for one way of reading them (channel, speed).

    Args:
        cache_mb: memory for samples. What does not fit is read again every time.
    """

    def __init__(self, cache_mb: int) -> None:
        self._decoded: dict[Utterance, Decoded] = {}
        self._bytes_left = cache_mb * 2**20
        self._lock = Lock()

    def get(self, utterance: Utterance) -> Decoded | None:
        """What is known of an utterance."""
        return self._decoded.get(utterance)

    def keep(self, utterance: Utterance, decoded: Decoded) -> None:
        """Keep an utterance, where there is room."""
        with self._lock:
            if decoded.wave_S.nbytes <= self._bytes_left and utterance not in self._decoded:
                self._decoded[utterance] = decoded
                self._bytes_left -= decoded.wave_S.nbytes
