"""Read-ahead: threads open, decode and resample files while others are being embedded.

Shapes: S samples.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import TypeVar

import numpy as np

from sdpn.augmentation.speed import at_speed
from sdpn.errors import InputError
from sdpn.extraction.audio_cache import AudioCache, Decoded
from sdpn.extraction.clips import Clip, ClipPlan, WindowPlan, plan_clips
from sdpn.io.audio import Channel
from sdpn.io.kaldi import Utterance
from sdpn.models.batching import batches_by_length

T = TypeVar("T")

#: Clips read ahead per thread.
_AHEAD = 4
#: Size of the store for forming batches of similar length, in batches: more means less padding.
_STORED_BATCHES = 16


@dataclass(frozen=True, kw_only=True)
class ReadClip:
    """A clip with its samples, or with an error.

    Attributes:
        index: index of its utterance in the list given.
        utterance: its utterance.
        number: index of the clip in its utterance, from 0.
        num_clips: number of clips of the utterance.
        duration_s: duration of the utterance.
        windows_N2: see `Clip`.
        wave_S: (S,) float32 at 16 kHz; empty in case of an error.
        error: the error in reading the file.
    """

    index: int = 0
    utterance: Utterance
    number: int = 0
    num_clips: int = 1
    duration_s: float = 0.0
    windows_N2: np.ndarray | None = None
    wave_S: np.ndarray
    error: InputError | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Settings for reading utterances.

    Attributes:
        windows: windows over every utterance; None for whole utterances.
        whole: read each utterance as a single clip of any length.
        channel: channel of multichannel files if the utterance does not specify one; None averages all.
        speed: speed factor applied to the samples; times remain those of the file.
        cache: cache for utterances of a single clip.
    """

    windows: WindowPlan | None = None
    whole: bool = False
    channel: Channel = None
    speed: Fraction = Fraction(1)
    cache: AudioCache | None = None


def read_ahead(
    utterances: Iterable[Utterance], reading: Reading = Reading(), *, threads: int = 1
) -> Iterator[ReadClip]:
    """Read utterances clip by clip, in order, some clips ahead of the consumer.

    An unreadable file is reported as a clip with an error. Threads suffice, since libsndfile's decoders and
    scipy's resampler release the interpreter lock.

    Args:
        utterances: the utterances.
        reading: settings.
        threads: number of reader threads.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="reader") as pool:
        ahead = _AHEAD * threads
        openings = (partial(_open, at, utterance, reading) for at, utterance in enumerate(utterances))
        for opened, plan in _in_order(pool, openings, ahead):
            if plan is None:
                yield opened
                continue
            readings = (partial(_read, opened, plan, number, reading) for number in range(len(plan.clips)))
            yield from _in_order(pool, readings, ahead)


def _open(index: int, utterance: Utterance, reading: Reading) -> tuple[ReadClip, ClipPlan | None]:
    """Read an utterance of a single clip; for others, return their clip plan."""
    empty = ReadClip(index=index, utterance=utterance, wave_S=np.zeros(0, dtype=np.float32))
    if reading.cache is not None and (cached := reading.cache.get(utterance)) is not None:
        return replace(empty, duration_s=cached.duration_s, wave_S=cached.wave_S), None
    try:
        plan = plan_clips(utterance, reading.windows, whole=reading.whole)
    except (InputError, OSError) as error:
        return replace(empty, error=_as_input_error(error, utterance)), None
    if len(plan.clips) > 1:
        return empty, plan
    read = _read(empty, plan, 0, reading)
    if reading.cache is not None and read.error is None and read.windows_N2 is None:
        reading.cache.keep(utterance, Decoded(read.duration_s, read.wave_S))
    return read, None


def _read(empty: ReadClip, plan: ClipPlan, number: int, reading: Reading) -> ReadClip:
    clip: Clip = plan.clips[number]
    try:
        wave_S = at_speed(clip.read(empty.utterance, channel=reading.channel), reading.speed)
    except (InputError, OSError) as error:
        return replace(empty, error=_as_input_error(error, empty.utterance))
    return replace(
        empty,
        number=number,
        num_clips=len(plan.clips),
        duration_s=plan.duration_s,
        windows_N2=clip.windows_N2,
        wave_S=wave_S,
    )


def _as_input_error(error: InputError | OSError, utterance: Utterance) -> InputError:
    """Convert a system error to an `InputError` with the file."""
    if isinstance(error, InputError):
        return error
    return InputError(f"cannot be read ({error.strerror or error})", path=utterance.path)


def _in_order(pool: Executor, tasks: Iterable[Callable[[], T]], ahead: int) -> Iterator[T]:
    """Run tasks in a pool, some ahead of the consumer; yield results in order."""
    waiting: deque[Future[T]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(task))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # the consumer has stopped: cancel pending tasks
        for future in waiting:
            future.cancel()


def bucketed(clips: Iterable[ReadClip], *, samples: int, utterances: int) -> Iterator[Sequence[ReadClip]]:
    """Form batches of clips of similar length.

    Clips wait in a bounded store. When it is full, the oldest clip is batched with those of similar length.

    Args:
        clips: clips without errors; one with windows is its own batch.
        samples: maximum samples of a batch, padding included.
        utterances: maximum clips of a batch.
    """
    store: dict[int, ReadClip] = {}
    stored = 0

    def oldest() -> list[ReadClip]:
        places = list(store)
        lengths = [len(store[place].wave_S) for place in places]
        batches = batches_by_length(lengths, samples=samples, utterances=utterances)
        batch = next(batch for batch in batches if 0 in batch)
        return [store.pop(places[index]) for index in batch]

    for place, one in enumerate(clips):
        if one.windows_N2 is not None:
            yield [one]
            continue
        store[place] = one
        stored += len(one.wave_S)
        while stored > _STORED_BATCHES * samples:
            batch = oldest()
            stored -= sum(len(other.wave_S) for other in batch)
            yield batch
    while store:
        yield oldest()
