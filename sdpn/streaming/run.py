"""A whole stream, from its source to its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from sdpn.errors import InputError
from sdpn.streaming.diarizer import StreamingDiarizer
from sdpn.streaming.events import Event, StreamEnds
from sdpn.streaming.sources import Arrived

logger = logging.getLogger(__name__)

#: Waits in a row after which a stall is worth a word: five seconds.
_STALL = 10


def diarize_stream(
    diarizer: StreamingDiarizer,
    blocks: Iterable[Arrived | None],
    on_event: Callable[[Event], None],
    *,
    stopped: Sequence[object] = (),
) -> StreamEnds:
    """Diarize a stream until it ends.

    A stall changes nothing: times count samples, not the clock. Where a source lost samples, words and
    windows end (`StreamingDiarizer.gap`).

    Args:
        diarizer: a new one.
        blocks: from `sdpn.streaming.sources`; None for nothing new.
        on_event: called with each event, at once.
        stopped: once there is something in it, the stream ends.

    Returns:
        the last event.

    Raises:
        InputError: the source cannot be read, or gives no audio.
    """
    waits = 0
    for block in blocks:
        if block is None:
            waits += 1
            if waits == _STALL:
                logger.warning("nothing has arrived for 5 s; waiting")
        else:
            waits = 0
            for event in diarizer.gap() if block.lost else []:
                on_event(event)
            try:
                events = diarizer.push(block.samples, block.rate_hz)
            except InputError as error:
                raise InputError(
                    f"{error.message}, after {diarizer.heard_s:.1f} s",
                    path=diarizer.recording,
                    hint=error.hint,
                ) from error
            for event in events:
                on_event(event)
        if stopped:
            break
    *events, end = diarizer.finish()
    for event in (*events, end):
        on_event(event)
    assert isinstance(end, StreamEnds)
    return end
