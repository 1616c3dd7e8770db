"""A timeline of turns as a piece of HTML, for notebooks: no script, and every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.io.html import templates

if TYPE_CHECKING:
    from jinja2 import Template

#: Colours that differ for most eyes, on light and on dark (Okabe and Ito, without black).
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800")

#: Speakers that are shown at most, those who speak most; widths of the timeline that are told apart.
_MOST_SPEAKERS, _WIDTH = 40, 1000.0

#: Pauses that are narrower than this are not drawn, nor turns narrower than that.
_NARROWEST = 0.5

#: Seconds between marks of the time axis, of which there are so many that they stay apart at the least width.
_STEPS_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 172800, 604800)
_MOST_TICKS = 4

#: A mark that is closer to an end than this share of the axis begins or ends there, and is not cut off.
_AT_AN_END = 0.08


def turns_html(
    turns: Sequence[tuple[float, float, str]], *, name: str = "", duration_s: float | None = None
) -> str:
    """Draw who spoke when, one line for each speaker in the order of their first turns.

    Its size depends on the number of speakers alone: of very many turns those are drawn together that cannot
    be told apart.

    Args:
        turns: start and end in seconds, and the speaker, in any order.
        name: of the recording.
        duration_s: its length; None is the end of the last turn.

    >>> turns_html([(0.0, 1.5, "A"), (1.5, 4.0, "B")], name="meeting").count("<rect")
    2
    """
    turns = sorted(turns)
    end_s = max([end_s for _, end_s, _ in turns] + ([] if duration_s is None else [duration_s]), default=0.0)
    by_speaker: dict[str, list[tuple[float, float]]] = {}
    for start_s, stop_s, speaker in turns:
        by_speaker.setdefault(speaker, []).append((start_s, stop_s))
    talk_s = {who: math.fsum(stop - start for start, stop in spans) for who, spans in by_speaker.items()}
    shown = set(sorted(talk_s, key=lambda who: -talk_s[who])[:_MOST_SPEAKERS])
    return _template().render(
        name=name,
        num_turns=len(turns),
        length=_clock(end_s),
        left_out=len(by_speaker) - len(shown),
        speakers=[
            {
                "name": who,
                "time": _clock(talk_s[who]),
                "colour": _COLOURS[number % len(_COLOURS)],
                "bars": _bars(spans, end_s),
            }
            for number, (who, spans) in enumerate(by_speaker.items())
            if who in shown
        ],
        ticks=_ticks(end_s),
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    return templates(Path(__file__).parent / "assets").get_template("turns.html.j2")


def _bars(spans: Sequence[tuple[float, float]], end_s: float) -> list[dict[str, Any]]:
    """Rectangles for spans in order of time."""
    if not end_s > 0:
        return []
    together: list[list[float]] = []
    for start_s, stop_s in spans:
        if together and (start_s - together[-1][1]) * _WIDTH / end_s < _NARROWEST / 2:
            together[-1][1] = max(together[-1][1], stop_s)
        else:
            together.append([start_s, stop_s])
    return [
        {
            "x": f"{_WIDTH * start_s / end_s:.2f}",
            "width": f"{max(_NARROWEST, _WIDTH * (stop_s - start_s) / end_s):.2f}",
            "times": f"{_clock(start_s, tenths=True)} to {_clock(stop_s, tenths=True)}",
        }
        for start_s, stop_s in together
    ]


def _ticks(end_s: float) -> list[dict[str, Any]]:
    step_s = next((step for step in _STEPS_S if end_s / step <= _MOST_TICKS), None)
    if step_s is None or not end_s > 0:
        return []
    return [
        {"place": _place(at_s / end_s), "time": _clock(at_s)}
        for at_s in range(0, math.floor(end_s) + 1, step_s)
    ]


def _place(share: float) -> str:
    """Where a mark of the axis is, as CSS."""
    if share > 1 - _AT_AN_END:
        return f"right: {100 * (1 - share):.2f}%"
    centred = "" if share < _AT_AN_END else "; transform: translateX(-50%)"
    return f"left: {100 * share:.2f}%{centred}"


def _clock(seconds: float, *, tenths: bool = False) -> str:
    """As a clock shows it: 1:02:03.4."""
    parts = round(10 * seconds) if tenths else 10 * round(seconds)
    hours, rest = divmod(parts, 36000)
    minutes, rest = divmod(rest, 600)
    shown = f"{rest // 10:02}" + (f".{rest % 10}" if tenths else "")
    return f"{hours}:{minutes:02}:{shown}" if hours else f"{minutes}:{shown}"
