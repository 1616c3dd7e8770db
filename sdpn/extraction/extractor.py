"""From utterances to embeddings, with every core or the GPU at work all the time.

Readers decode ahead; the thread that asks makes batches; one thread for each core embeds them, or one for the
GPU. What is finished is handed over at once, before the next batch is begun.

Shapes: N windows (1 for a whole utterance), D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from fractions import Fraction
from threading import Lock

import numpy as np

from sdpn.extraction.clips import WindowPlan
from sdpn.extraction.processor import compute_alone, prepare
from sdpn.extraction.reader import ReadClip, bucketed, read_ahead
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance
from sdpn.memory import keep_freed_memory
from sdpn.models.batching import SECONDS_AT_ONCE, UTTERANCES_AT_ONCE
from sdpn.models.embedder import Embedder, Precision

#: Freed memory that the process keeps.
_KEPT_MB = 512


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an utterance.

    Attributes:
        utterance: the utterance.
        embeddings_ND: float32 (N, D), N being 1 for a whole utterance; None where it failed.
        duration_s: its length.
        error: why it failed.
    """

    utterance: Utterance
    embeddings_ND: np.ndarray | None = None
    duration_s: float = 0.0
    error: str | None = None


class Extractor:
    """Embeds utterances by the thousand.

    Args:
        embedder: the model; its network is prepared for this kind of work.
        windows: windows over every utterance; None: one embedding for each.
        threads: utterances that are embedded at a time on a CPU. A GPU takes one batch at a time.
        readers: files that are read at a time.
        batch_size: most utterances in a batch; None: what suits the device.
        speed: every utterance is heard this much faster (`sdpn.augmentation.speed`); without windows.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        windows: WindowPlan | None = None,
        threads: int = 1,
        readers: int = 1,
        batch_size: int | None = None,
        speed: Fraction = Fraction(1),
    ) -> None:
        self._embedder = embedder
        self.windows = windows
        self.speed = speed
        self._on_cpu = embedder.device.type == "cpu"
        self._threads = threads if self._on_cpu else 1
        self._readers = readers
        self._samples = int(SECONDS_AT_ONCE[embedder.device.type] * RATE_HZ)
        self._utterances = batch_size or UTTERANCES_AT_ONCE[embedder.device.type]
        if self._on_cpu:
            prepare(embedder.encoder)
            keep_freed_memory(_KEPT_MB)

    def choose_precision(self) -> Precision:
        """The faster precision, found out under the conditions of the work."""
        from sdpn.extraction.precision import choose_precision

        with self._pool(1) as pool:
            return pool.submit(choose_precision, self._embedder).result()

    def run(
        self, utterances: Sequence[Utterance], finished: Callable[[Sequence[Outcome]], None]
    ) -> Iterator[int]:
        """Embed utterances; yields how many are done.

        Args:
            utterances: what is embedded.
            finished: is handed what a batch brought, by one thread at a time, as soon as it is there.
        """
        assembly = _Assembly(finished)
        heard = read_ahead(utterances, windows=self.windows, threads=self._readers, speed=self.speed)
        batches = bucketed(
            (one for one in heard if not assembly.refuse(one)),
            samples=self._samples,
            utterances=self._utterances,
        )
        working: set[Future[None]] = set()
        with self._pool(self._threads) as pool:
            try:
                for batch in batches:
                    working.add(pool.submit(self._embed, batch, assembly))
                    if len(working) > self._threads:  # one waits, so that no thread has to
                        working = _wait(working)
                    yield assembly.done
                while working:
                    working = _wait(working)
                    yield assembly.done
            finally:
                for future in working:
                    future.cancel()

    def _embed(self, batch: Sequence[ReadClip], assembly: _Assembly) -> None:
        if batch[0].windows_N2 is None:
            rows = self._embedder.embed_batch([one.wave_S for one in batch])
            assembly.add([(one, rows[at : at + 1]) for at, one in enumerate(batch)])
        else:
            (one,) = batch
            assembly.add([(one, self._embedder.embed_windows(one.wave_S, batch[0].windows_N2))])

    def _pool(self, threads: int) -> ThreadPoolExecutor:
        initializer = compute_alone if self._on_cpu else None
        return ThreadPoolExecutor(threads, thread_name_prefix="embedder", initializer=initializer)


def _wait(working: set[Future[None]]) -> set[Future[None]]:
    """Wait for one to finish; returns those still at work."""
    done, still = wait(working, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()  # raises what the thread raised
    return still


@dataclass
class _Assembly:
    """Puts the clips of each utterance together.

    Attributes:
        finished: is handed the utterances that are whole.
        done: how many those are.
    """

    finished: Callable[[Sequence[Outcome]], None]
    done: int = 0
    _clips: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def refuse(self, one: ReadClip) -> bool:
        """Note a clip that could not be read, and leave out the others of its utterance."""
        name = one.utterance.id
        with self._lock:
            if one.error is None:
                return name in self._failed
            if name not in self._failed:
                self._fail(one.utterance, one.error)
            return True

    def add(self, rows: Sequence[tuple[ReadClip, np.ndarray]]) -> None:
        """Take the embeddings of clips, and hand over what they complete."""
        with self._lock:
            whole = []
            for one, embeddings_ND in rows:
                name = one.utterance.id
                if name in self._failed:
                    continue
                if not np.isfinite(embeddings_ND).all():
                    self._fail(one.utterance, "the network's output for it is NaN or infinite")
                    continue
                clips = self._clips.setdefault(name, {})
                clips[one.number] = embeddings_ND
                if len(clips) == one.num_clips:
                    whole.append(_outcome(one, self._clips.pop(name)))
            self.finished(whole)
            self.done += len(whole)

    def _fail(self, utterance: Utterance, why: str) -> None:
        self._failed.add(utterance.id)
        self._clips.pop(utterance.id, None)
        self.finished([Outcome(utterance=utterance, error=why)])
        self.done += 1


def _outcome(last: ReadClip, clips: dict[int, np.ndarray]) -> Outcome:
    """Windows one after the other; the parts of a long utterance, which are equally long, as their mean."""
    rows_ND = np.concatenate([clips[number] for number in range(last.num_clips)])
    if last.windows_N2 is None:
        rows_ND = rows_ND.mean(axis=0, keepdims=True)
    return Outcome(utterance=last.utterance, embeddings_ND=rows_ND, duration_s=last.duration_s)
