"""Who speaks, while they speak: `StreamingDiarizer`.

Samples become ticks (`sdpn.streaming.buffer`), ticks speech and windows with embeddings
(`sdpn.streaming.listener`), windows speakers (`sdpn.streaming.online_clustering`), and what is older than the
latency turns, which are reported as events. At the end, everything that was kept is clustered as a file would
be (`sdpn.streaming.final_pass`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sdpn.clustering.base import check_counts
from sdpn.diarization.embedding import EmbedsWindows
from sdpn.diarization.level import FRAME
from sdpn.diarization.pipeline import DiarizationConfig, calibrated_clusterer
from sdpn.diarization.speech import Segment
from sdpn.diarization.timeline import LabelledSpan, label_speech
from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ
from sdpn.streaming.buffer import SampleBuffer
from sdpn.streaming.events import Event, Gap, Relabelled, StreamBegins, StreamEnds, TurnBegins, TurnEnds
from sdpn.streaming.final_pass import difference, with_live_labels
from sdpn.streaming.kept import KeptWindows
from sdpn.streaming.listener import Heard, Listener
from sdpn.streaming.live_turns import LiveTurns
from sdpn.streaming.online_clustering import Change, OnlineClustering, OnlineConfig

if TYPE_CHECKING:
    from pyannote.core import Annotation

#: Frames of the speech detector in a tick: fewer cost more, and more add to the shortest latency.
_TICK_FRAMES, _TICK_FRAMES_BELOW_1_S = 8, 4

#: The last window of a segment in progress is embedded anew after this time, in seconds; half of it would
#: cost twice as much.
_ANEW_S = 0.5

#: Windows that began this long ago, in seconds, are decided, however short the latency.
_SETTLED_S = 2.0


@dataclass(frozen=True, kw_only=True)
class StreamingConfig(DiarizationConfig):
    """Settings of the pipeline, and of what is decided live.

    Attributes:
        latency_s: what is said has a speaker after this time; the later, the better (docs/streaming.md).
        online: settings of the speakers while the stream goes on.
        keep_windows: latest windows that the final pass has: a day of uninterrupted speech.
    """

    latency_s: float = 2.0
    online: OnlineConfig = field(default_factory=OnlineConfig)
    keep_windows: int = 115_200

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.5 <= self.latency_s <= 5.0:
            raise InputError(f"the latency is {self.latency_s:g} s", hint="expected 0.5 to 5 s")
        if self.keep_windows < 1:
            raise ValueError(f"keep_windows is {self.keep_windows}; expected at least 1")


@dataclass
class _Speech:
    """A segment of speech that is not reported yet, or only in part.

    Attributes:
        start_s: its start.
        end_s: up to where it is certain.
        is_finished: it ends there.
        reported_s: up to where it is reported.
        windows: start, end and number of its windows that are embedded.
        settled: number of those that are decided,
        passed: and of those whose part of the segment is reported.
        last: end and speaker of the last window that was embedded out of turn.
    """

    start_s: float
    end_s: float
    is_finished: bool
    reported_s: float
    windows: list[tuple[float, float, int]] = field(default_factory=list)
    settled: int = 0
    passed: int = 0
    last: tuple[float, int] | None = None


@dataclass
class _OpenTurn:
    number: int
    start_s: float
    end_s: float
    label: int


class StreamingDiarizer:
    """Speaker diarization of a stream: push samples, get events.

    >>> diarizer = StreamingDiarizer(sdpn.load_model(), latency_s=2.0)
    >>> for samples in microphone:  # any number of samples at a time
    ...     for event in diarizer.push(samples, rate_hz=48000):
    ...         print(event)
    >>> diarizer.finish()[-1].turns

    The same samples give the same events, however they are cut. Memory does not grow, apart from what is kept
    for the final pass of at most ``keep_windows`` windows.

    Args:
        model: from `sdpn.load_model`, or anything else with ``embed_windows`` and ``calibration``.
        latency_s: what is said has a speaker after this time, 0.5 to 5 s; None for that of ``config``.
        config: None takes the defaults.
        num_speakers: exact number of speakers, obeyed by the final pass, and live never exceeded.
        min_speakers: minimum number of speakers.
        max_speakers: maximum number of speakers.
        recording: name of the stream.

    Raises:
        InputError: an unknown clusterer or setting, or contradictory numbers of speakers.
    """

    def __init__(
        self,
        model: EmbedsWindows,
        *,
        latency_s: float | None = None,
        config: StreamingConfig | None = None,
        num_speakers: int | None = None,
        min_speakers: int = 1,
        max_speakers: int | None = None,
        recording: str = "stream",
    ) -> None:
        check_counts(num_speakers=num_speakers, min_speakers=min_speakers, max_speakers=max_speakers)
        config = config or StreamingConfig()
        if latency_s is not None:
            config = StreamingConfig(**{**vars(config), "latency_s": latency_s})
        self.config, self.model, self.recording = config, model, recording
        self.clusterer = calibrated_clusterer(config.method, config.settings, model.calibration)
        self._low, self._high = (
            (num_speakers, num_speakers) if num_speakers is not None else (min_speakers, max_speakers)
        )
        self._online = OnlineClustering(
            self.clusterer,
            config.online,
            hop_s=config.hop_s,
            min_speakers=self._low,
            max_speakers=self._high,
        )
        self.tick = FRAME * (_TICK_FRAMES if config.latency_s >= 1.0 else _TICK_FRAMES_BELOW_1_S)
        self._buffer = SampleBuffer(self.tick)
        self._listener = Listener(model, config, start_s=0.0)
        self._kept = KeptWindows(config.keep_windows)
        self._speech: deque[_Speech] = deque()
        self._num_segments = self._first_of_stretch = 0
        self._turns = LiveTurns(max_pause_s=config.max_pause_s)
        self._as_reported = LiveTurns(max_pause_s=config.max_pause_s)
        self._open: _OpenTurn | None = None
        self._num_turns = 0
        self._numbers: dict[int, int] = {}
        self._has_begun = self._has_ended = False
        self._final: list[LabelledSpan] | None = None

    @property
    def heard_s(self) -> float:
        """Seconds of the stream that have been heard."""
        return self._listener.heard_s

    @property
    def reported(self) -> list[LabelledSpan]:
        """Who spoke when, as first reported."""
        return self._as_reported.spans

    @property
    def relabelled(self) -> list[LabelledSpan]:
        """The same as it stands after all relabelling."""
        return self._turns.spans

    @property
    def final(self) -> list[LabelledSpan] | None:
        """The same after the final pass; None before."""
        return self._final

    @property
    def turns(self) -> Annotation:
        """Who spoke when, as far as is known; after `finish`, the final result."""
        from pyannote.core import Segment as Turn

        from sdpn.io.annotation import ShownAnnotation

        annotation = ShownAnnotation(uri=self.recording)
        for track, span in enumerate(self._turns.spans if self._final is None else self._final):
            annotation[Turn(span.start_s, span.end_s), track] = self._name(span.label)
        return annotation

    def push(self, samples: Any, rate_hz: int = RATE_HZ) -> list[Event]:
        """Take the next samples; returns what has happened.

        Args:
            samples: any number of them, (S,), or (S, C) whose channels are averaged: floats in [-1, 1], or
                PCM of 8, 16 or 32 bits.
            rate_hz: their rate, which may change.

        Raises:
            InputError: not samples, NaN, infinite or far beyond [-1, 1], or not a rate; or the stream has
                ended.
        """
        events = self._begun()
        for tick_S in self._buffer.push(samples, rate_hz):
            events += self._hear(self._listener.push(tick_S), is_end=False)
        return events

    def gap(self, seconds: float = 0.0) -> list[Event]:
        """The stream stopped, and starts again: a lost connection, an overrun of the sound card.

        What was said before is decided at once, and no word or window reaches across.

        Args:
            seconds: how much time was lost; the times of everything that follows are later by this.

        Raises:
            InputError: a negative or infinite number of seconds; or the stream has ended.
        """
        if not 0.0 <= seconds < float("inf"):
            raise InputError(f"a gap of {seconds} s", hint="expected seconds, at least 0")
        events = self._begun() + self._end_of_stretch()
        heard_s = self.heard_s
        self._listener = Listener(self.model, self.config, start_s=heard_s + seconds)
        self._first_of_stretch = self._num_segments
        return [*events, Gap(at_s=heard_s, seconds=float(seconds))]

    def finish(self) -> list[Event]:
        """End the stream: decide what is left, and cluster everything that was kept once more.

        Raises:
            InputError: the stream has ended before.
        """
        events = self._begun() + self._end_of_stretch()
        self._has_ended = True
        speech, windows, emb_ND = self._kept.recalled()
        live = [span for span in self._turns.spans if span.end_s > self._kept.start_s]
        final: list[LabelledSpan] = []
        if speech:
            most = len(emb_ND)
            labels_N = self.clusterer.fit_predict(
                emb_ND,
                times_N2=windows.times_N2,
                min_speakers=min(self._low, most),
                max_speakers=None if self._high is None else min(self._high, most),
            ).labels_N
            final = label_speech(speech, windows, labels_N, max_pause_s=self.config.max_pause_s)
            final = with_live_labels(final, live, new=1 + max(self._numbers, default=-1))
        self._final = final
        changed = difference(live, final)
        reported = [span for span in self._as_reported.spans if span.end_s > self._kept.start_s]
        end = StreamEnds(
            at_s=self.heard_s,
            num_speakers=len({span.label for span in final}),
            live_speakers=len({span.label for span in live}),
            from_s=self._kept.start_s,
            changed_s=changed.changed_s,
            der=changed.der,
            der_as_reported=difference(reported, final).der,
            turns=[
                {
                    "start_s": round(span.start_s, 4),
                    "end_s": round(span.end_s, 4),
                    "speaker": self._name(span.label),
                }
                for span in final
            ],
        )
        return [*events, end]

    def _begun(self) -> list[Event]:
        if self._has_ended:
            raise InputError("the stream has ended", hint="start another with a new StreamingDiarizer")
        if self._has_begun:
            return []
        self._has_begun = True
        return [StreamBegins(at_s=0.0, recording=self.recording, latency_s=self.config.latency_s)]

    def _end_of_stretch(self) -> list[Event]:
        events: list[Event] = []
        rest_S = np.zeros(0, dtype=np.float32)
        for piece_S in self._buffer.finish():
            if len(piece_S) == self.tick:
                events += self._hear(self._listener.push(piece_S), is_end=False)
            else:
                rest_S = piece_S
        return events + self._hear(self._listener.finish(rest_S), is_end=True)

    def _hear(self, heard: Heard, *, is_end: bool) -> list[Event]:
        """What follows from a tick."""
        self._take_speech(heard)
        events = self._take_windows(heard)
        # what would be too late with the next tick
        due_s = self.heard_s + self.tick / RATE_HZ
        until_s = self.heard_s if is_end else due_s - self.config.latency_s
        settled_s = self.heard_s if is_end else due_s - max(self.config.latency_s, _SETTLED_S)
        for speech in self._speech:
            events += self._settle(speech, settled_s)
            events += self._report(speech, until_s)
        while self._speech and self._is_done(self._speech[0]):
            done = self._speech.popleft()
            self._kept.add_segment(Segment(done.start_s, done.end_s))
        if self._open is not None:
            certain_s = self.heard_s if is_end else min(until_s, heard.undecided_from_s)
            if is_end or certain_s - self._open.end_s > self.config.max_pause_s:
                events += self._close()
        return events

    def _take_speech(self, heard: Heard) -> None:
        for segment in [*heard.finished, *([] if heard.growing is None else [heard.growing])]:
            is_finished = segment is not heard.growing
            last = self._speech[-1] if self._speech else None
            if last is None or last.is_finished:
                last = _Speech(segment.start_s, segment.end_s, is_finished, segment.start_s)
                self._speech.append(last)
                self._num_segments += 1
            last.end_s, last.is_finished = segment.end_s, is_finished

    def _take_windows(self, heard: Heard) -> list[Event]:
        events: list[Event] = []
        first = self._num_segments - len(self._speech)
        for (start_s, end_s), segment, embedding_D in zip(
            heard.windows.times_N2.tolist(), heard.windows.segment_N.tolist(), heard.emb_ND, strict=True
        ):
            number = self._first_of_stretch + segment
            if self._kept.add_window(start_s, end_s, number, embedding_D):
                self._turns.forget(self._kept.start_s)
                self._as_reported.forget(self._kept.start_s)
            self._speech[number - first].windows.append((start_s, end_s, self._online.num_windows))
            events += self._changed(self._online.add(embedding_D, start_s, end_s))
        return events

    def _settle(self, speech: _Speech, until_s: float) -> list[Event]:
        """Decide on windows, and correct what was reported before they were there."""
        events: list[Event] = []
        while speech.settled < len(speech.windows):
            begin_s, end_s = self._core(speech, speech.settled)
            if begin_s >= until_s:
                break
            label = self._online.decide(speech.windows[speech.settled][2])
            speech.settled += 1
            wrong = self._turns.labels_between(begin_s, end_s)
            events += self._changed([Change(begin_s, end_s, was, label) for was in wrong if was != label])
        return events

    def _report(self, speech: _Speech, until_s: float) -> list[Event]:
        """Report a segment up to a time, as far as it is certain."""
        events: list[Event] = []
        until_s = min(until_s, speech.end_s)
        while speech.reported_s < until_s - 1e-9:
            while (
                speech.passed < len(speech.windows)
                and self._core(speech, speech.passed)[1] <= speech.reported_s + 1e-9
            ):
                speech.passed += 1
            if speech.passed < len(speech.windows):
                to_s = min(self._core(speech, speech.passed)[1], until_s)
                label = self._online.label(speech.windows[speech.passed][2])
            else:
                to_s, label = until_s, self._guess(speech)
            events += self._said(speech.reported_s, to_s, label)
            speech.reported_s = to_s
        return events

    def _core(self, speech: _Speech, place: int) -> tuple[float, float]:
        """The part of a segment that has the speaker of a window: up to halfway to its neighbours."""
        start_s, end_s, _ = speech.windows[place]
        begin_s = (speech.windows[place - 1][1] + start_s) / 2 if place else speech.start_s
        if place + 1 < len(speech.windows):
            return begin_s, (end_s + speech.windows[place + 1][0]) / 2
        if speech.is_finished and end_s >= min(speech.end_s, self.heard_s) - 1e-6:
            return begin_s, speech.end_s
        return begin_s, end_s - (self.config.window_s - self.config.hop_s) / 2

    def _guess(self, speech: _Speech) -> int:
        """Speaker of the end of what is certain, where there is no window yet."""
        if speech.last is None or speech.end_s - speech.last[0] >= _ANEW_S:
            start_s, end_s, embedding_D = self._listener.embed_until(speech.end_s, speech.start_s)
            speech.last = (speech.end_s, self._online.guess(embedding_D, end_s - start_s))
        return speech.last[1]

    def _is_done(self, speech: _Speech) -> bool:
        if not speech.is_finished or speech.reported_s < speech.end_s - 1e-9:
            return False
        return speech.settled == len(speech.windows) > 0 and (
            speech.windows[-1][1] >= min(speech.end_s, self.heard_s) - 1e-6
        )

    def _said(self, start_s: float, end_s: float, label: int) -> list[Event]:
        """Report that somebody said something."""
        self._turns.add(start_s, end_s, label)
        self._as_reported.add(start_s, end_s, label)
        events: list[Event] = []
        is_same = (
            self._open is not None
            and self._open.label == label
            and start_s - self._open.end_s <= self.config.max_pause_s + 1e-9
        )
        if self._open is None or not is_same:
            events += self._close()
            self._open = _OpenTurn(self._num_turns, start_s, end_s, label)
            self._num_turns += 1
            events.append(
                TurnBegins(
                    at_s=self.heard_s, turn=self._open.number, start_s=start_s, speaker=self._name(label)
                )
            )
        self._open.end_s = end_s
        return events

    def _close(self) -> list[Event]:
        turn, self._open = self._open, None
        if turn is None:
            return []
        return [
            TurnEnds(
                at_s=self.heard_s,
                turn=turn.number,
                start_s=turn.start_s,
                end_s=turn.end_s,
                speaker=self._name(turn.label),
            )
        ]

    def _changed(self, changes: Iterable[Change]) -> list[Event]:
        """Relabel turns, and report it."""
        events: list[Event] = []
        for change in changes:
            if not self._turns.relabel(*change):
                continue
            if (
                self._open is not None
                and self._open.label == change.was
                and change.start_s < self._open.end_s
                and change.end_s > self._open.start_s
            ):
                events += self._close()
            events.append(
                Relabelled(
                    at_s=self.heard_s,
                    start_s=change.start_s,
                    end_s=change.end_s,
                    was=self._name(change.was),
                    speaker=self._name(change.now),
                )
            )
        return events

    def _name(self, label: int) -> str:
        """Speakers are numbered as they are first reported."""
        return f"speaker{self._numbers.setdefault(label, len(self._numbers)):02d}"
