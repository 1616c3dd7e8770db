"""Windows of many recordings in the same batches: one thread embeds for all threads that read and listen.

A GPU embeds faster than one core decodes and detects speech. So several recordings are read at the same time,
each by a thread of its own, which does not wait for embeddings either; what is waiting when the network is
free becomes one batch.

Shapes: S samples, N windows, D embedding dimensions.
"""

from __future__ import annotations

import queue
from collections.abc import Mapping
from concurrent.futures import Future
from threading import Thread
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from sdpn.diarization.embedding import EmbedsWindows, in_one_wave
from sdpn.diarization.vad import network_of
from sdpn.io.audio import RATE_HZ

#: Windows that are embedded together at most: four minutes of speech.
_AT_ONCE = 512

#: Requests that wait before those who make them have to: some 7 MB of samples each.
_WAITING = 16


class _Request(NamedTuple):
    wave_S: np.ndarray
    windows_N2: np.ndarray
    future: Future[np.ndarray]


class SharedBatches:
    """A model for several threads, which `sdpn.diarization.pipeline.Diarizer` takes as any other.

    Embeddings are those of the model up to rounding: batches are made of what is there.

    >>> with SharedBatches(model) as shared:
    ...     diarizer = Diarizer(shared)  # to be called by several threads

    Args:
        model: embeds windows; it is called by one thread.
        at_once: windows in a batch.

    Attributes:
        num_batches: batches embedded so far.
        num_windows: windows embedded so far.
    """

    def __init__(self, model: EmbedsWindows, *, at_once: int = _AT_ONCE) -> None:
        self._model, self._at_once = model, at_once
        self.speech_network = network_of(model)
        self.num_batches = self.num_windows = 0
        self._requests: queue.Queue[_Request | None] = queue.Queue(_WAITING)
        self._thread = Thread(target=self._work, name="embedder", daemon=True)

    @property
    def calibration(self) -> Mapping[str, float]:
        """Of the model."""
        return self._model.calibration

    def __enter__(self) -> SharedBatches:
        """Start the thread that embeds."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, after what was asked for."""
        self._requests.put(None)
        self._thread.join()

    def embed_later(self, wave_S: np.ndarray, windows_N2: np.ndarray) -> Future[np.ndarray]:
        """Embed windows as soon as the network is free; waits only while many others do.

        Args:
            wave_S: float32, 16 kHz mono.
            windows_N2: start and end in seconds, at least a tenth of a second from both ends of the wave.

        Returns:
            (N, D) float32, when it is ready.
        """
        future: Future[np.ndarray] = Future()
        self._requests.put(_Request(wave_S, windows_N2, future))
        return future

    def embed_windows(self, wave_S: np.ndarray, windows_N2: np.ndarray) -> np.ndarray:
        """As `embed_later`, and wait for it."""
        return self.embed_later(wave_S, windows_N2).result()

    def _work(self) -> None:
        request = self._requests.get()
        while request is not None:
            batch, after = self._with_waiting(request)
            try:
                rows_ND = self._embed(batch)
            except BaseException as error:  # the threads that asked end with it
                for one in batch:
                    one.future.set_exception(error)
            else:
                ends = np.cumsum([len(one.windows_N2) for one in batch])[:-1]
                for one, own_ND in zip(batch, np.split(rows_ND, ends), strict=True):
                    one.future.set_result(own_ND)
            request = self._requests.get() if after is _NOTHING else after

    def _with_waiting(self, first: _Request) -> tuple[list[_Request], Any]:
        """What is embedded together, and the request after it, if it is known."""
        batch, count = [first], len(first.windows_N2)
        while count < self._at_once:
            try:
                more = self._requests.get_nowait()
            except queue.Empty:
                return batch, _NOTHING
            if more is None or count + len(more.windows_N2) > self._at_once:
                return batch, more
            batch.append(more)
            count += len(more.windows_N2)
        return batch, _NOTHING

    def _embed(self, batch: list[_Request]) -> np.ndarray:
        self.num_batches += 1
        self.num_windows += sum(len(one.windows_N2) for one in batch)
        if len(batch) == 1:
            return self._model.embed_windows(batch[0].wave_S, batch[0].windows_N2)
        wave_S, starts = in_one_wave([one.wave_S for one in batch])
        windows_N2 = [one.windows_N2 + start / RATE_HZ for start, one in zip(starts, batch, strict=True)]
        return self._model.embed_windows(wave_S, np.concatenate(windows_N2))


#: No request was taken from the queue.
_NOTHING = object()
