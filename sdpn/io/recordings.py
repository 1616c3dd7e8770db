"""Random access to the samples of many utterances, in bounded memory.

Decoded utterances stay in memory as 16-bit samples while there is space. Beyond that, a short utterance is
decoded completely, since its crops are read in a row; of a long one, only the requested range is read. All
ways give bitwise identical samples, so the cache does not affect a run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance

_FULL_SCALE = 32767

#: Utterances up to this length are decoded completely: their crops together are about as long.
_SHORT_S = 20


class Recordings:
    """Samples of utterances by their place in a list.

    Args:
        utterances: the list.
        cache_mb: memory for decoded samples; a loader process has its own.
        channel: channel of multichannel files, counted from 0; None averages them.
    """

    def __init__(self, utterances: Sequence[Utterance], *, cache_mb: int, channel: int | None = None) -> None:
        self._utterances = utterances
        self._channel = channel
        self._lengths = np.full(len(utterances), -1)  # -1: not known yet
        self._decoded: dict[int, np.ndarray] = {}
        self._bytes_left = cache_mb * 2**20
        self._latest: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self._utterances)

    def length(self, index: int) -> int:
        """Samples of an utterance.

        Raises:
            InputError: its file cannot be read.
        """
        if self._lengths[index] < 0:
            self._lengths[index] = self._utterances[index].num_samples()
        return int(self._lengths[index])

    def read(self, index: int, first: int, count: int) -> np.ndarray:
        """Samples ``first`` … ``first + count - 1`` of an utterance, (count,) float32.

        Raises:
            InputError: they cannot be read.
        """
        whole = self._decoded.get(index)
        if whole is None and self._latest is not None and self._latest[0] == index:
            whole = self._latest[1]
        if whole is None:
            whole = self._decode_all(index)
        piece = self._decode(index, first, count) if whole is None else whole[first : first + count]
        return piece.astype(np.float32) / _FULL_SCALE

    def _decode_all(self, index: int) -> np.ndarray | None:
        """The whole utterance, if the cache has space or it is short, and all of it can be read."""
        length = self.length(index)
        fits = 2 * length <= self._bytes_left
        if not fits and length > _SHORT_S * RATE_HZ:
            return None
        try:
            decoded = self._decode(index, 0, length)
        except InputError:
            return None  # damage elsewhere in the file must not matter, as it would not without the cache
        if fits:
            self._decoded[index] = decoded
            self._bytes_left -= decoded.nbytes
        else:
            self._latest = index, decoded
        return decoded

    def _decode(self, index: int, first: int, count: int) -> np.ndarray:
        wave = self._utterances[index].read_range(first, count, channel=self._channel)
        return np.rint(np.clip(wave, -1.0, 1.0) * _FULL_SCALE).astype(np.int16)
