"""The timeline of a recording: one lane per speaker, reference above hypothesis, errors below.

The drawing is an SVG whose x unit is the second and which stretches to any width; every text is HTML
beside it, so that letters keep their size on a phone. Hovering reads the times off the rectangles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from sdpn.report.alignment import (
    CONFUSION,
    ERROR_KINDS,
    FALSE_ALARM,
    MISSED,
    Alignment,
    Lane,
    Span,
    merge_narrow,
)
from sdpn.report.axis import clock, tick_caption, time_ticks

#: Colours for speakers in page.css (--s0, --s1, …).
NUM_SPEAKER_COLOURS = 10

#: CSS class of an error kind.
ERROR_CLASS = {MISSED: "missed", FALSE_ALARM: "falarm", CONFUSION: "confusion"}

_BAR, _BAR_GAP, _LANE_GAP, _STRIP, _STRIP_GAP, _TOP = 13, 2, 9, 9, 3, 4

# A plot is drawn for this many pixels; recordings longer than _FULL_S can be zoomed to more.
_PIXELS, _FULL_S, _PIXELS_PER_S, _MOST_PIXELS = 1600, 900.0, 1.2, 12_000


def draw_timeline(alignment: Alignment, *, description: str) -> str:
    """Draw one recording.

    Args:
        alignment: what is drawn.
        description: text alternative of the plot.

    Returns:
        HTML with inline SVG; all names in it are escaped.
    """
    span_s = alignment.end_s - alignment.start_s
    if span_s <= 0:
        return '<p class="none">There is no speech in the reference or the hypothesis.</p>'
    wide = round(min(span_s * _PIXELS_PER_S, _MOST_PIXELS)) if span_s > _FULL_S else 0
    pixel_s = span_s / max(wide, _PIXELS)
    labels: list[str] = []
    shapes: list[str] = []
    top = _TOP
    for number, lane in enumerate(alignment.lanes):
        colour = f"s{number % NUM_SPEAKER_COLOURS}" if lane.reference is not None else "unmatched"
        labels.append(_lane_label(lane, top, colour))
        for who, name, spans in (
            ("reference", lane.reference, lane.reference_spans),
            ("hypothesis", lane.hypothesis, lane.hypothesis_spans),
        ):
            if name is not None:
                shapes.append(
                    f'<g class="{who[:3]} {colour}" data-who="{escape(f"{who}: {name}")}">'
                    + _bars(spans, top, _BAR, pixel_s)
                    + "</g>"
                )
            top += _BAR + _BAR_GAP
        top += _LANE_GAP - _BAR_GAP
    strip_top = top
    for kind in ERROR_KINDS:
        css = ERROR_CLASS[kind]
        labels.append(f'<span class="err {css}" style="top:{top}px;height:{_STRIP}px">{kind}</span>')
        shapes.append(
            f'<g class="{css}" data-who="{kind}">' + _error_bars(alignment, kind, top, pixel_s) + "</g>"
        )
        top += _STRIP + _STRIP_GAP
    height = top
    background = (
        f'<g class="strip"><rect x="{alignment.start_s:g}" y="{strip_top - 2}" width="{span_s:.3f}"'
        f' height="{height - strip_top + 1}"/></g>'
        '<g class="unscored" data-who="not scored">'
        + _bars(alignment.not_scored, strip_top - 2, height - strip_top + 1, pixel_s)
        + "</g>"
    )
    ticks = time_ticks(alignment.start_s, alignment.end_s, most=6)
    grid = "".join(f"M{tick:g} 0V{height}" for tick in ticks)
    captions = f'<div class="ticks" aria-hidden="true">{_captions(ticks, alignment)}</div>'
    zoom = width = ""
    if wide:
        close = time_ticks(alignment.start_s, alignment.end_s, most=wide // 120)
        captions += f'<div class="ticks close" aria-hidden="true">{_captions(close, alignment)}</div>'
        width = f' style="--wide:{wide}px"'
        zoom = '<button type="button" class="zoom" aria-pressed="false">zoom in</button>'
    return (
        f'<div class="timeline"><div class="lanes" style="height:{height}px" aria-hidden="true">'
        f'{"".join(labels)}</div><div class="scroll" tabindex="-1"><div class="plot"{width}>'
        f'<svg viewBox="{alignment.start_s:g} 0 {span_s:.3f} {height}" height="{height}"'
        f' preserveAspectRatio="none" role="img" aria-label="{escape(description)}">'
        f'<path class="grid" d="{grid}"/>{background}{"".join(shapes)}</svg>'
        f"{captions}</div></div>{zoom}</div>"
    )


def _captions(ticks: Iterable[float], alignment: Alignment) -> str:
    span_s = alignment.end_s - alignment.start_s
    return "".join(
        tick_caption((tick - alignment.start_s) / span_s, clock(tick, longest_s=alignment.end_s))
        for tick in ticks
    )


def _lane_label(lane: Lane, top: int, colour: str) -> str:
    reference = "no match" if lane.reference is None else escape(lane.reference)
    hypothesis = "nobody" if lane.hypothesis is None else escape(lane.hypothesis)
    height = 2 * _BAR + _BAR_GAP
    return (
        f'<span class="lane {colour}" style="top:{top}px;height:{height}px">'
        f"<b{' class=absent' if lane.reference is None else ''}>{reference}</b>"
        f"<i{' class=absent' if lane.hypothesis is None else ''}>{hypothesis}</i></span>"
    )


def _bars(spans: Iterable[Span], top: int, height: int, pixel_s: float) -> str:
    return "".join(
        f'<rect x="{start_s:.3f}" y="{top}" width="{end_s - start_s:.3f}" height="{height}"'
        + (f' data-n="{joined}"' if joined > 1 else "")
        + "/>"
        for start_s, end_s, joined in merge_narrow(spans, pixel_s)
    )


def _error_bars(alignment: Alignment, kind: str, top: int, pixel_s: float) -> str:
    """Thin bars, one row per kind; two speakers at once in error make a taller one."""
    drawn = []
    errors = [error for error in alignment.errors if error.kind == kind]
    for speakers in sorted({error.speakers for error in errors}):
        spans: Sequence[Span] = [(e.start_s, e.end_s) for e in errors if e.speakers == speakers]
        height = _STRIP if speakers > 1 else _STRIP - 3
        bars = _bars(spans, top + _STRIP - height, height, pixel_s)
        drawn.append(f'<g data-k="{speakers}">{bars}</g>' if speakers > 1 else bars)
    return "".join(drawn)
