"""Events as JSON and as text."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from sdpn.streaming.events import (
    Event,
    Gap,
    Relabelled,
    StreamBegins,
    StreamEnds,
    TurnBegins,
    TurnEnds,
    as_text,
)

EVENTS: list[tuple[Event, str]] = [
    (
        StreamBegins(at_s=0.0, recording="talk", latency_s=0.5),
        "talk: speakers are reported 0.5 s after they speak",
    ),
    (
        TurnBegins(at_s=3725.0, turn=1, start_s=3723.95, speaker="speaker01"),
        "1:02:04.0            speaker01 ...",
    ),
    (
        TurnEnds(at_s=9.0, turn=1, start_s=7.25, end_s=59.96, speaker="speaker01"),
        "0:00:07.2 0:01:00.0 speaker01",
    ),
    (
        Relabelled(at_s=9.0, start_s=0.0, end_s=8.0, was="speaker02", speaker="speaker00"),
        "0:00:00.0 0:00:08.0 speaker02 is speaker00",
    ),
    (Gap(at_s=60.0, seconds=2.5), "0:01:00.0            the stream stopped for 2.5 s"),
    (
        StreamEnds(
            at_s=60.0,
            num_speakers=1,
            live_speakers=2,
            from_s=0.0,
            changed_s=3.21,
            der=0.0666666,
            der_as_reported=0.1,
            turns=[],
        ),
        "0:01:00.0            end: 1 speaker; the final pass changed 3.2 s (DER of the live turns against it "
        "6.7 %)",
    ),
]


@pytest.mark.parametrize(("event", "text"), EVENTS, ids=[event.kind for event, _ in EVENTS])
def test_text_and_json(event: Event, text: str) -> None:
    assert as_text(event) == text
    values = json.loads(json.dumps(event.to_dict()))
    assert values.pop("event") == event.kind
    assert values == {name: pytest.approx(getattr(event, name), abs=1e-4) for name in values}
    assert set(values) == {field.name for field in fields(event)}
