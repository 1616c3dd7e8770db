"""In-memory cache for utterances that are embedded repeatedly.

Shapes: S samples.
"""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple

import numpy as np

from sdpn.io.kaldi import Utterance


class Decoded(NamedTuple):
    """A decoded utterance.

    Attributes:
        duration_s: its duration in the file.
        wave_S: samples, float32 at 16 kHz.
    """

    duration_s: float
    wave_S: np.ndarray


class AudioCache:
    """Samples by utterance, for a fixed channel and speed.

    Args:
        cache_mb: memory for samples. Utterances that do not fit are read every time.
    """

    def __init__(self, cache_mb: int) -> None:
        self._decoded: dict[Utterance, Decoded] = {}
        self._bytes_left = cache_mb * 2**20
        self._lock = Lock()

    def get(self, utterance: Utterance) -> Decoded | None:
        """The cached utterance; None if it is not cached."""
        return self._decoded.get(utterance)

    def keep(self, utterance: Utterance, decoded: Decoded) -> None:
        """Store an utterance if it fits."""
        with self._lock:
            if decoded.wave_S.nbytes <= self._bytes_left and utterance not in self._decoded:
                self._decoded[utterance] = decoded
                self._bytes_left -= decoded.wave_S.nbytes
