"""Streams from their source to their end."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.streaming.diarizer import StreamingDiarizer
from sdpn.streaming.events import Event
from sdpn.streaming.run import diarize_stream
from sdpn.streaming.sources import Arrived
from tests.diarization.test_pipeline import HumEmbedder

SECOND = np.zeros(16000, dtype=np.int16)


def test_stalls_losses_and_a_stop(caplog: pytest.LogCaptureFixture) -> None:
    stopped: list[int] = []

    def blocks() -> Iterator[Arrived | None]:
        yield Arrived(SECOND, 16000)
        yield from [None] * 25
        yield Arrived(SECOND, 16000, lost=True)
        stopped.append(2)
        yield None
        raise AssertionError("read on after it was stopped")

    events: list[Event] = []
    with caplog.at_level(logging.WARNING):
        end = diarize_stream(StreamingDiarizer(HumEmbedder()), blocks(), events.append, stopped=stopped)
    assert [event.kind for event in events] == ["stream_begins", "gap", "stream_ends"]
    assert (events[1].at_s, end.at_s, events[-1]) == (1.0, 2.0, end)
    assert [record.message for record in caplog.records] == ["nothing has arrived for 5 s; waiting"]


def test_samples_that_are_none() -> None:
    diarizer = StreamingDiarizer(HumEmbedder(), recording="radio")
    blocks = [Arrived(SECOND, 16000), Arrived(np.array([0.0, np.inf], dtype=np.float32), 16000)]
    with pytest.raises(InputError) as caught:
        diarize_stream(diarizer, blocks, [].append)
    assert str(caught.value).startswith("radio: contains 1 NaN or infinite samples of 2, after 0.8 s")
