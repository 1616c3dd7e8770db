"""Streaming computation of window embeddings, each window normalised to a fixed level.

Shapes: S samples, N windows, D embedding dimensions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol, runtime_checkable

import numpy as np

from sdpn.diarization.level import hiss
from sdpn.io.audio import RATE_HZ

#: RMS that every window is brought to: -23 dB relative to full scale. The floor that a network adds before
#: the log of its features matters more in quiet speech; from -33 to -18 dB it made no difference
#: (docs/diarization.md).
_LEVEL = 10 ** (-23 / 20)

#: Windows per batch, counted from the start of the recording, so that the result does not depend on the block
#: size of the input.
_AT_ONCE = 64

#: Samples of context on both sides of a window: feature frames are centred, and the window's ends are rounded
#: to them. Windows start at multiples of this, and so of the hop of any features.
_MARGIN = RATE_HZ // 10


class EmbedsWindows(Protocol):
    """The model interface that the pipeline needs."""

    @property
    def calibration(self) -> Mapping[str, float]:
        """Settings that depend on the model, such as ``ahc_threshold``; may be empty."""
        ...

    def embed_windows(self, wave_S: np.ndarray, windows_N2: np.ndarray) -> np.ndarray:
        """Embed windows (N, 2) in seconds of a 16 kHz mono float32 wave: (N, D)."""
        ...


@runtime_checkable
class EmbedsLater(EmbedsWindows, Protocol):
    """A model that embeds while its caller goes on: `sdpn.diarization.shared_batches.SharedBatches`."""

    def embed_later(self, wave_S: np.ndarray, windows_N2: np.ndarray) -> Future[np.ndarray]:
        """As `embed_windows`, with the result later."""
        ...


class WindowEmbedder:
    """Embeds the windows of one recording, keeping only the samples that are still needed.

    Args:
        model: embeds them.
        at_once: windows in a batch.
    """

    def __init__(self, model: EmbedsWindows, *, at_once: int = _AT_ONCE) -> None:
        self._model, self._at_once = model, at_once
        self._chunks: deque[np.ndarray] = deque()
        self._kept_from = self._heard = 0  # samples
        self._waiting: deque[tuple[float, float]] = deque()
        self._batch: list[np.ndarray] = []
        self._embedded: list[np.ndarray | Future[np.ndarray]] = []

    def push(self, wave_S: np.ndarray, windows_N2: np.ndarray, needed_from_s: float) -> None:
        """Add the next samples and windows of the recording.

        Args:
            wave_S: float32.
            windows_N2: start and end in seconds; they may end beyond the samples added so far.
            needed_from_s: no later window starts before this.
        """
        self._chunks.append(wave_S)
        self._heard += len(wave_S)
        self._waiting.extend(map(tuple, windows_N2.tolist()))
        while self._waiting and round(self._waiting[0][1] * RATE_HZ) + _MARGIN <= self._heard:
            self._take(*self._waiting.popleft())
        needed_from = (
            round(min([needed_from_s, *(start_s for start_s, _ in self._waiting)]) * RATE_HZ) - _MARGIN
        )
        while self._chunks and self._kept_from + len(self._chunks[0]) <= needed_from:
            self._kept_from += len(self._chunks.popleft())

    def finish(self, windows_N2: np.ndarray) -> np.ndarray:
        """End the recording, with its last windows; returns the embeddings (N, D) that were not taken."""
        self._waiting.extend(map(tuple, windows_N2.tolist()))
        while self._waiting:
            self._take(*self._waiting.popleft())
        if self._batch:
            self._embed()
        return self.taken()

    def taken(self) -> np.ndarray:
        """The embeddings (N, D) that are ready and were not returned yet."""
        embedded, self._embedded = [_ready(rows) for rows in self._embedded], []
        return np.concatenate(embedded) if embedded else np.zeros((0, 0), dtype=np.float32)

    def now(self, start_s: float, end_s: float) -> np.ndarray:
        """Embedding (D,) of any window of the samples that are kept, out of turn."""
        waiting, self._batch = self._batch, [self._piece(start_s, end_s)]
        self._embed()
        self._batch = waiting
        embedding: np.ndarray = _ready(self._embedded.pop())[0]
        return embedding

    def _take(self, start_s: float, end_s: float) -> None:
        """Add a window to the batch."""
        self._batch.append(self._piece(start_s, end_s))
        if len(self._batch) == self._at_once:
            self._embed()

    def _piece(self, start_s: float, end_s: float) -> np.ndarray:
        """Level-normalised samples of a window with its margins."""
        first, last = round(start_s * RATE_HZ), min(round(end_s * RATE_HZ), self._heard)
        piece_S = self._samples(first - _MARGIN, last + _MARGIN)
        inner_S = piece_S[_MARGIN : len(piece_S) - _MARGIN].astype(np.float64)
        rms = float(np.sqrt(inner_S @ inner_S / max(len(inner_S), 1)))
        if rms > 0:
            piece_S *= np.float32(_LEVEL / rms)
        piece_S += np.float32(_LEVEL) * hiss(len(piece_S))
        return piece_S

    def _samples(self, first: int, last: int) -> np.ndarray:
        """Samples of the recording, zero-padded."""
        samples = np.zeros(last - first, dtype=np.float32)
        at = self._kept_from
        for chunk_S in self._chunks:
            begin, end = max(first, at), min(last, at + len(chunk_S))
            if begin < end:
                samples[begin - first : end - first] = chunk_S[begin - at : end - at]
            at += len(chunk_S)
        return samples

    def _embed(self) -> None:
        wave_S, starts = in_one_wave(self._batch)
        firsts = starts + _MARGIN
        lasts = starts + [len(piece_S) - _MARGIN for piece_S in self._batch]
        windows_N2 = np.stack([firsts, lasts], axis=1) / RATE_HZ
        if isinstance(self._model, EmbedsLater):
            self._embedded.append(self._model.embed_later(wave_S, windows_N2))
        else:
            self._embedded.append(self._model.embed_windows(wave_S, windows_N2))
        self._batch = []


def in_one_wave(pieces: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of samples behind one another, each from a multiple of the margin on.

    Returns:
        the wave (S,) float32, with zeros between the pieces, and where each begins, int64.
    """
    strides = [-(-len(piece_S) // _MARGIN) * _MARGIN for piece_S in pieces]
    starts = np.cumsum([0, *strides])
    wave_S = np.zeros(starts[-1], dtype=np.float32)
    for start, piece_S in zip(starts[:-1], pieces, strict=True):
        wave_S[start : start + len(piece_S)] = piece_S
    return wave_S, starts[:-1]


def _ready(rows: np.ndarray | Future[np.ndarray]) -> np.ndarray:
    return rows.result() if isinstance(rows, Future) else rows
