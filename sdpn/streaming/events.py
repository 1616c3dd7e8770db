"""What a streaming diarizer reports, as it happens.

Every event has the time of the stream at which it was reported (``at_s``, the samples heard until then, in
seconds), so the same samples give the same events. As JSON, an event is one line:

    {"event": "turn_begins", "at_s": 2.432, "turn": 0, "start_s": 0.41, "speaker": "speaker00"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

#: Version of the lines, in the first of them.
SCHEMA = "sdpn.stream/1"


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened.

    Attributes:
        at_s: seconds of the stream that had been heard.
    """

    kind: ClassVar[str]
    at_s: float

    def to_dict(self) -> dict[str, Any]:
        """For a JSON line; times are rounded to milliseconds."""
        values = {field.name: _rounded(getattr(self, field.name)) for field in fields(self)}
        return {"event": self.kind, **values}


@dataclass(frozen=True, kw_only=True)
class StreamBegins(Event):
    """The first event.

    Attributes:
        recording: name of the stream.
        latency_s: time after which what was said has a speaker.
        schema: version of the events.
    """

    kind: ClassVar[str] = "stream_begins"
    recording: str
    latency_s: float
    schema: str = SCHEMA


@dataclass(frozen=True, kw_only=True)
class TurnBegins(Event):
    """Somebody begins to speak.

    Attributes:
        turn: its number.
        start_s: since when.
        speaker: who, as far as is known.
    """

    kind: ClassVar[str] = "turn_begins"
    turn: int
    start_s: float
    speaker: str


@dataclass(frozen=True, kw_only=True)
class TurnEnds(Event):
    """The turn that began last has ended.

    Attributes:
        turn: its number.
        start_s: its start.
        end_s: its end.
        speaker: whose it was when it began.
    """

    kind: ClassVar[str] = "turn_ends"
    turn: int
    start_s: float
    end_s: float
    speaker: str


@dataclass(frozen=True, kw_only=True)
class Relabelled(Event):
    """What was reported as one speaker's, between two times, is another's.

    Attributes:
        start_s: from here on,
        end_s: up to here,
        was: every part of a turn that was this speaker's
        speaker: is this one's.
    """

    kind: ClassVar[str] = "relabelled"
    start_s: float
    end_s: float
    was: str
    speaker: str


@dataclass(frozen=True, kw_only=True)
class Gap(Event):
    """The stream stopped and started again: nothing is known about the time between.

    Attributes:
        seconds: how long it is taken to be.
    """

    kind: ClassVar[str] = "gap"
    seconds: float


@dataclass(frozen=True, kw_only=True)
class StreamEnds(Event):
    """The last event: what the final pass changed.

    Attributes:
        num_speakers: speakers after the final pass.
        live_speakers: speakers before.
        from_s: the final pass has the stream from here on; above 0 if it was too long to be kept.
        changed_s: seconds of speech with another speaker than before.
        der: DER of the live turns, as they stand after all relabelling, with the final ones as the reference.
        der_as_reported: the same of the live turns as first reported.
        turns: the final turns, in order of time.
    """

    kind: ClassVar[str] = "stream_ends"
    num_speakers: int
    live_speakers: int
    from_s: float
    changed_s: float
    der: float
    der_as_reported: float
    turns: list[Mapping[str, Any]]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    return value


def as_text(event: Event) -> str | None:
    """An event for people to read; None for those that say nothing new."""
    if isinstance(event, StreamBegins):
        return f"{event.recording}: speakers are reported {event.latency_s:g} s after they speak"
    if isinstance(event, TurnBegins):
        return f"{_clock(event.start_s)}            {event.speaker} ..."
    if isinstance(event, TurnEnds):
        return f"{_clock(event.start_s)} {_clock(event.end_s)} {event.speaker}"
    if isinstance(event, Relabelled):
        return f"{_clock(event.start_s)} {_clock(event.end_s)} {event.was} is {event.speaker}"
    if isinstance(event, Gap):
        return f"{_clock(event.at_s)}            the stream stopped for {event.seconds:g} s"
    if isinstance(event, StreamEnds):
        speakers = "1 speaker" if event.num_speakers == 1 else f"{event.num_speakers} speakers"
        return (
            f"{_clock(event.at_s)}            end: {speakers}; the final pass changed "
            f"{event.changed_s:.1f} s (DER of the live turns against it {100 * event.der:.1f} %)"
        )
    raise TypeError(f"no event: {event!r}")


def _clock(seconds: float) -> str:
    tenths = round(10 * seconds)
    hours, minutes = divmod(tenths // 600, 60)
    return f"{hours:d}:{minutes:02d}:{tenths % 600 / 10:04.1f}"
