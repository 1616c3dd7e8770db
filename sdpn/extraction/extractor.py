"""The extraction engine: reading, batching and embedding in parallel.

Reader threads decode ahead; the calling thread forms batches; one thread per core embeds them, or a single
one for a GPU. Results are delivered after every batch. Use `sdpn.extraction.embed_corpus` for embeddings in
memory and `sdpn.extraction.embed_missing` for files.

Shapes: N embeddings of an utterance (1 where it is embedded as a whole), D embedding, S samples.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from fractions import Fraction
from threading import Lock
from typing import TypeAlias

import numpy as np

from sdpn.errors import InputError
from sdpn.extraction.audio_cache import AudioCache
from sdpn.extraction.clips import WindowPlan
from sdpn.extraction.reader import ReadClip, Reading, bucketed, read_ahead
from sdpn.io.audio import RATE_HZ, Channel
from sdpn.io.kaldi import Utterance
from sdpn.memory import keep_freed_memory
from sdpn.models.batching import SECONDS_AT_ONCE, UTTERANCES_AT_ONCE
from sdpn.models.speaker_embedder import Precision, SpeakerEmbedder

#: Freed memory that the process keeps.
_KEPT_MB = 512

#: Chooses windows (N, 2), in seconds from the start, from the samples (S,) and the index of an utterance.
ChosenWindows: TypeAlias = Callable[[np.ndarray, int], np.ndarray]
#: Chooses waveforms to embed instead of an utterance, from the same arguments.
Pieces: TypeAlias = Callable[[np.ndarray, int], Sequence[np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result for an utterance.

    Attributes:
        index: its index in the list given.
        utterance: the utterance.
        embeddings_ND: float32 (N, D), N = 1 for a whole utterance; None if it failed.
        duration_s: duration of the utterance.
        error: the error if it failed.
    """

    index: int
    utterance: Utterance
    embeddings_ND: np.ndarray | None = None
    duration_s: float = 0.0
    error: InputError | None = None


class Extractor:
    """Embeds large numbers of utterances.

    Args:
        embedder: the model.
        windows: windows over every utterance, or a function that chooses them; None embeds whole utterances.
        pieces: function that chooses waveforms to embed instead of the utterance; not with windows. Functions
            are called in the order of the utterances, by one thread; an `InputError` fails the utterance.
        channel: channel of multichannel files if the utterance does not specify one; None averages all.
        threads: number of embedding threads on a CPU. A GPU processes one batch at a time.
        readers: number of reader threads.
        batch_size: maximum number of utterances in a batch; None chooses by device.
        speed: speed factor applied to every utterance (`sdpn.augmentation.speed`); not with windows.
        cache: cache for decoded utterances.
    """

    def __init__(
        self,
        embedder: SpeakerEmbedder,
        *,
        windows: WindowPlan | ChosenWindows | None = None,
        pieces: Pieces | None = None,
        channel: Channel = None,
        threads: int = 1,
        readers: int = 1,
        batch_size: int | None = None,
        speed: Fraction = Fraction(1),
        cache: AudioCache | None = None,
    ) -> None:
        if windows is not None and pieces is not None:
            raise ValueError("windows and pieces exclude each other")
        self._embedder = embedder
        plan = windows if isinstance(windows, WindowPlan) else None
        self._chosen = None if isinstance(windows, WindowPlan) else windows
        self._pieces = pieces
        whole = self._chosen is not None or pieces is not None
        self._reading = Reading(windows=plan, whole=whole, channel=channel, speed=speed, cache=cache)
        self._on_cpu = embedder.device_type == "cpu"
        self._threads = threads if self._on_cpu else 1
        self._readers = readers
        self._samples = int(SECONDS_AT_ONCE[embedder.device_type] * RATE_HZ)
        self._utterances = batch_size or UTTERANCES_AT_ONCE[embedder.device_type]
        if self._on_cpu:
            keep_freed_memory(_KEPT_MB)

    @property
    def windows(self) -> WindowPlan | None:
        """The window plan, if there is one."""
        return self._reading.windows

    @property
    def speed(self) -> Fraction:
        """Speed factor of the utterances."""
        return self._reading.speed

    def choose_precision(self) -> Precision:
        """Choose the faster precision by timing the network as in extraction, where there is a choice."""
        if len(self._embedder.precisions) == 1:
            return self._embedder.precision
        from sdpn.extraction.precision import choose_precision

        with self._embedder.for_threads(), self._pool(1) as pool:
            return pool.submit(choose_precision, self._embedder).result()

    def run(
        self, utterances: Sequence[Utterance], finished: Callable[[Sequence[Outcome]], None]
    ) -> Generator[int, None, None]:
        """Embed utterances; yields the number of utterances done.

        Args:
            utterances: the utterances.
            finished: called with the results of each batch, by one thread at a time.
        """
        assembly = _Assembly(finished, averages=self._pieces is None)
        read = read_ahead(utterances, self._reading, threads=self._readers)
        batches = bucketed(
            (one for clip in read for one in self._divided(clip, assembly) if not assembly.refuse(one)),
            samples=self._samples,
            utterances=self._utterances,
        )
        working: set[Future[None]] = set()
        with self._embedder.for_threads(), self._pool(self._threads) as pool:
            try:
                for batch in batches:
                    working.add(pool.submit(self._embed, batch, assembly))
                    if len(working) > self._threads:  # one batch waits, so that no thread idles
                        working = _wait(working)
                    yield assembly.done
                while working:
                    working = _wait(working)
                    yield assembly.done
            finally:
                for future in working:
                    future.cancel()

    def _divided(self, clip: ReadClip, assembly: _Assembly) -> Sequence[ReadClip]:
        """Apply the functions that choose windows or pieces; each piece becomes a clip."""
        if clip.error is not None:
            return [clip]
        try:
            if self._chosen is not None:
                return [replace(clip, windows_N2=self._chosen(clip.wave_S, clip.index))]
            if self._pieces is None:
                return [clip]
            waves = self._pieces(clip.wave_S, clip.index)
        except InputError as error:
            return [replace(clip, error=error)]
        if not len(waves):
            assembly.add([(clip, np.zeros((0, self._embedder.embedding_dim), dtype=np.float32))])
        return [
            replace(clip, number=number, num_clips=len(waves), wave_S=wave_S)
            for number, wave_S in enumerate(waves)
        ]

    def _embed(self, batch: Sequence[ReadClip], assembly: _Assembly) -> None:
        if batch[0].windows_N2 is None:
            rows = self._embedder.embed_batch([one.wave_S for one in batch])
            assembly.add([(one, rows[at : at + 1]) for at, one in enumerate(batch)])
        else:
            (one,) = batch
            assembly.add([(one, self._embedder.embed_windows(one.wave_S, batch[0].windows_N2))])

    def _pool(self, threads: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(
            threads, thread_name_prefix="embedder", initializer=self._embedder.of_each_thread
        )


def _wait(working: set[Future[None]]) -> set[Future[None]]:
    """Wait for a batch to finish; returns the unfinished ones."""
    done, still = wait(working, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()  # reraises exceptions of the thread
    return still


@dataclass
class _Assembly:
    """Combines the clips of each utterance.

    Attributes:
        finished: called with completed utterances.
        averages: whether the clips of an utterance without windows are averaged (equal parts), instead of
            kept separately (pieces).
        done: number of completed utterances.
    """

    finished: Callable[[Sequence[Outcome]], None]
    averages: bool
    done: int = 0
    _clips: dict[int, dict[int, np.ndarray]] = field(default_factory=dict)
    _failed: set[int] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def refuse(self, one: ReadClip) -> bool:
        """Record the error of a clip; returns whether to skip it, since its utterance has failed."""
        with self._lock:
            if one.error is None:
                return one.index in self._failed
            if one.index not in self._failed:
                self._fail(one, one.error)
            return True

    def add(self, rows: Sequence[tuple[ReadClip, np.ndarray]]) -> None:
        """Add the embeddings of clips, and deliver the utterances that they complete."""
        with self._lock:
            whole = []
            for one, embeddings_ND in rows:
                if one.index in self._failed:
                    continue
                if not np.isfinite(embeddings_ND).all():
                    self._fail(one, InputError("its embedding contains NaN or infinite values"))
                    continue
                clips = self._clips.setdefault(one.index, {})
                clips[one.number] = embeddings_ND
                if len(clips) == one.num_clips:
                    whole.append(self._outcome(one, self._clips.pop(one.index)))
            self.finished(whole)
            self.done += len(whole)

    def _fail(self, one: ReadClip, why: InputError) -> None:
        self._failed.add(one.index)
        self._clips.pop(one.index, None)
        self.finished([Outcome(index=one.index, utterance=one.utterance, error=why)])
        self.done += 1

    def _outcome(self, last: ReadClip, clips: dict[int, np.ndarray]) -> Outcome:
        rows_ND = np.concatenate([clips[number] for number in range(last.num_clips)])
        if last.windows_N2 is None and self.averages:
            rows_ND = rows_ND.mean(axis=0, keepdims=True)
        return Outcome(
            index=last.index, utterance=last.utterance, embeddings_ND=rows_ND, duration_s=last.duration_s
        )
