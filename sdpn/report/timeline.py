"""The timeline of a recording: one lane per speaker, reference above hypothesis, errors below.

Laid out here and not by matplotlib, whose pictures shrink their text with their width: the x unit of this SVG
is the second, so that it stretches to any width and zooms along time alone while the names beside it keep
their size on a phone, and the pointer reads times off the rectangles. figures.html.j2 has the markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from sdpn.report.alignment import ERROR_KINDS, Alignment, Span

#: Colours for speakers in page.css (--s0, --s1, …).
NUM_SPEAKER_COLOURS = 10

#: The strip of turns that the system is unsure of.
UNSURE = "unsure"

_BAR, _BAR_GAP, _LANE_GAP, _STRIP, _STRIP_GAP, _TOP = 13, 2, 9, 9, 3, 4

# A plot is drawn for this many pixels; recordings longer than _FULL_S can be zoomed to more.
_PIXELS, _FULL_S, _PIXELS_PER_S, _MOST_PIXELS = 1600, 900.0, 1.2, 12_000

_TICK_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)


def draw_timeline(
    alignment: Alignment, *, finest_s: float | None = None, unsure: Iterable[Span] = ()
) -> dict[str, Any] | None:
    """Lay out one recording, in seconds across and pixels down, for the ``timeline`` of figures.html.j2.

    Without any reference, hypothesis speakers have colours and there are no errors.

    Args:
        alignment: of reference and hypothesis.
        finest_s: keep spans down to this length apart, for a drawing that can be zoomed to them; None to draw
            for a certain width, and for one zoom step in long recordings.
        unsure: where the hypothesis is unsure, for a strip below the errors.

    Returns:
        the variables of the macro; None without speech.
    """
    span_s = alignment.end_s - alignment.start_s
    if span_s <= 0:
        return None
    wide = 0
    if finest_s is None and span_s > _FULL_S:
        wide = round(min(span_s * _PIXELS_PER_S, _MOST_PIXELS))
    pixel_s = finest_s or span_s / max(wide, _PIXELS)
    has_reference = any(lane.reference is not None for lane in alignment.lanes)
    bars: list[tuple[str, str, int, int, int, list[tuple[float, float, int]]]] = []

    def draw(css: str, who: str, top: int, height: int, spans: Iterable[Span], speakers: int = 1) -> None:
        bars.append((css, who, speakers, top, height, merge_narrow(spans, pixel_s)))

    lanes = []
    top = _TOP
    for number, lane in enumerate(alignment.lanes):
        is_unmatched = has_reference and lane.reference is None
        colour = "unmatched" if is_unmatched else f"s{number % NUM_SPEAKER_COLOURS}"
        lanes.append((lane, colour, top))
        if has_reference:
            if lane.reference is not None:
                draw(f"ref {colour}", f"reference: {lane.reference}", top, _BAR, lane.reference_spans)
            top += _BAR + _BAR_GAP
        if lane.hypothesis is not None:
            who = f"hypothesis: {lane.hypothesis}" if has_reference else lane.hypothesis
            draw(f"hyp {colour}", who, top, _BAR, lane.hypothesis_spans)
        top += _BAR + _LANE_GAP
    strip_top = top
    strips = []
    for kind in ERROR_KINDS if has_reference else ():
        strips.append((kind, top))
        errors = [error for error in alignment.errors if error.kind == kind]
        for speakers in sorted({error.speakers for error in errors}):
            height = _STRIP if speakers > 1 else _STRIP - 3  # two speakers at once make a taller bar
            spans = [(error.start_s, error.end_s) for error in errors if error.speakers == speakers]
            draw(css_class(kind), kind, top + _STRIP - height, height, spans, speakers)
        top += _STRIP + _STRIP_GAP
    if unsure:
        strips.append((UNSURE, top))
        draw(UNSURE, UNSURE, top + 3, _STRIP - 3, unsure)
        top += _STRIP + _STRIP_GAP
    draw("unscored", "not scored", strip_top - 2, top - strip_top + 1, alignment.not_scored)
    return {
        "start_s": alignment.start_s,
        "span_s": span_s,
        "height": top,
        "lanes": lanes,
        "lane_height": 2 * _BAR + _BAR_GAP if has_reference else _BAR,
        "has_reference": has_reference,
        "strips": strips,
        "strip_top": strip_top,
        "strip_height": _STRIP,
        "bars": bars[-1:] + bars[:-1],  # what is not scored lies below everything else
        "ticks": _ticks(alignment, most=6),
        "close_ticks": _ticks(alignment, most=wide // 120) if wide else [],
        "wide": wide,
    }


def css_class(kind: str) -> str:
    """CSS class of a kind of error."""
    return kind.replace(" ", "-")


def merge_narrow(spans: Iterable[Span], pixel_s: float) -> list[tuple[float, float, int]]:
    """Join spans whose gap, and widen spans whose length, is below one pixel.

    Args:
        spans: (start_s, end_s), sorted by start.
        pixel_s: seconds per pixel.

    Returns:
        (start_s, end_s, number of joined spans); at most one per two pixels, however many came in.
    """
    merged: list[tuple[float, float, int]] = []
    for start_s, end_s in spans:
        if merged and start_s - merged[-1][1] < pixel_s:
            before = merged[-1]
            merged[-1] = (before[0], max(before[1], end_s), before[2] + 1)
        else:
            merged.append((start_s, max(end_s, start_s + pixel_s), 1))
    return merged


def _ticks(alignment: Alignment, most: int) -> list[tuple[float, float, str]]:
    """Round times, at most about ``most`` of them, as (seconds, share of the width, caption)."""
    start_s, end_s = alignment.start_s, alignment.end_s
    step_s = next((step for step in _TICK_STEPS_S if (end_s - start_s) / step <= most), 86400.0)
    times = [step_s * number for number in range(math.ceil(start_s / step_s), math.floor(end_s / step_s) + 1)]
    return [(time, (time - start_s) / (end_s - start_s), clock(time, longest_s=end_s)) for time in times]


def clock(seconds: float, *, longest_s: float) -> str:
    """A time for display: ``12 s`` in a recording below two minutes, else ``3:20`` or ``1:03:20``."""
    if longest_s < 120:
        return f"{seconds:g} s"
    hours, rest = divmod(round(seconds), 3600)
    if longest_s >= 3600:
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
    return f"{rest // 60}:{rest % 60:02d}"
