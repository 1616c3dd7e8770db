"""Scalars and histograms over training steps, as small line charts.

Like the timelines, an SVG that stretches to any width with HTML text around it. Long series are drawn as
the mean and the range of equally many neighbouring points, so that no spike is smoothed away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from sdpn.report.axis import log_ticks, round_ticks, short, tick_caption
from sdpn.report.events import Histogram

#: Most points of a drawn line.
MOST_POINTS = 240

#: Line styles in page.css (--l0, --l1, …), for charts with several runs.
NUM_LINE_STYLES = 4

_WIDTH, _HEIGHT = 1000.0, 100.0
_LOG_RATIO = 100.0
_LEVELS = np.array([0.05, 0.25, 0.5, 0.75, 0.95])


@dataclass(frozen=True)
class Line:
    """One line of a chart and the bands around it, all over the same steps.

    Attributes:
        name: of the run; empty where there is only one.
        steps: (N,) rising.
        values: (N,) the line; all finite.
        bands: (low, high) arrays (N,) each, the widest first.
        style: number of the run, so that a run looks alike in every chart.
        num_lost: number of NaN or infinite points, which are not plotted.
    """

    name: str
    steps: np.ndarray
    values: np.ndarray
    bands: tuple[tuple[np.ndarray, np.ndarray], ...]
    style: int = 0
    num_lost: int = 0


def scalar_line(name: str, series: Mapping[int, float], style: int = 0) -> Line:
    """A scalar over steps: the values themselves, or means and ranges of neighbours if there are many."""
    steps_all = np.array(list(series), dtype=np.float64)
    values_all = np.array(list(series.values()), dtype=np.float64)
    finite = np.isfinite(values_all)
    steps, values = steps_all[finite], values_all[finite]
    num_lost = int((~finite).sum())
    if len(values) <= MOST_POINTS:
        return Line(name, steps, values, (), style, num_lost)
    groups = np.array_split(np.arange(len(values)), MOST_POINTS)
    # the outermost points keep the outermost steps, so that the axis shows how long the run was
    middles = [steps[group].mean() for group in groups[1:-1]]
    return Line(
        name,
        np.array([steps[0], *middles, steps[-1]]),
        np.array([values[group].mean() for group in groups]),
        ((np.array([values[g].min() for g in groups]), np.array([values[g].max() for g in groups])),),
        style,
        num_lost,
    )


def histogram_line(name: str, series: Mapping[int, Histogram], style: int = 0) -> Line:
    """A distribution over steps: its median, and where the middle 90 % and 50 % lie."""
    chosen = list(series)
    if len(chosen) > MOST_POINTS:
        chosen = [chosen[index] for index in np.linspace(0, len(chosen) - 1, MOST_POINTS).round().astype(int)]
    quantiles = np.array([series[step].quantiles(_LEVELS) for step in chosen])
    finite = np.isfinite(quantiles).all(axis=1)
    low, lower, middle, upper, high = quantiles[finite].T
    steps = np.array(chosen, dtype=np.float64)[finite]
    return Line(name, steps, middle, ((low, high), (lower, upper)), style, int((~finite).sum()))


def draw_chart(tag: str, lines: Sequence[Line], *, note: str = "") -> str:
    """Draw one chart.

    Args:
        tag: what is drawn, such as "loss/ce".
        lines: one per run.
        note: a sentence under the chart, as plain text.

    Returns:
        an HTML figure with inline SVG; the tag, the names and the note are escaped.
    """
    drawn = [line for line in lines if len(line.values)]
    notes = [note] if note else []
    notes += [
        f"{line.num_lost} value{'s' if line.num_lost > 1 else ''} NaN or infinite"
        + (f" in {line.name}" if line.name else "")
        + ", not plotted."
        for line in lines
        if line.num_lost
    ]
    bad = ' class="bad"' if any(line.num_lost for line in lines) else ""
    footer = f"<p{bad}>{escape(' '.join(notes))}</p>" if notes else ""
    named = any(line.name for line in drawn)
    last = f"<b>{short(float(drawn[0].values[-1]))}</b>" if drawn and not named else ""
    plot = _Plot(drawn) if drawn else None
    scale = "<small> log scale</small>" if plot and plot.log else ""
    head = f"<figcaption><span>{escape(tag)}{scale}</span><span class=last>{last}</span></figcaption>"
    if plot is None:
        return f'<figure class="chart">{head}<p class="none">No finite value.</p>{footer}</figure>'
    described = f"{tag}: " + "; ".join(_in_words(line) for line in drawn)
    body = "".join(map(plot.line, drawn))
    legend = ""
    if named:
        legend = "".join(
            f'<span class="l{line.style % NUM_LINE_STYLES}">{escape(line.name)}'
            f" <b>{short(float(line.values[-1]))}</b></span>"
            for line in drawn
        )
        legend = f'<div class="runs">{legend}</div>'
    return (
        f'<figure class="chart">{head}<div class="box">'
        f'<div class="yticks" aria-hidden="true">{plot.y_captions}</div><div class="plot">'
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(described)}"{plot.attributes}><path class="grid" d="{plot.grid}"/>{body}</svg>'
        f'</div><div class="xticks" aria-hidden="true">{plot.x_captions}</div></div>{legend}{footer}</figure>'
    )


class _Plot:
    """The frame that the lines share: what the axes span, and the ticks on them."""

    def __init__(self, lines: Sequence[Line]) -> None:
        steps = np.concatenate([line.steps for line in lines])
        values = np.concatenate(
            [line.values for line in lines] + [edge for line in lines for band in line.bands for edge in band]
        )
        self.x0, self.x1 = float(steps.min()), float(steps.max())
        round_steps = round_ticks(self.x0, self.x1, 4)
        if self.x0 == self.x1:
            self.x1 = self.x0 + 1  # one step, which gets the only tick
        low, high = float(values.min()), float(values.max())
        # only peaks that would flatten everything else; a value that touches 0 now and then stays linear
        self.log = low > 0 and high / float(np.median(values)) >= _LOG_RATIO
        if self.log:
            ticks = log_ticks(low, high)
            self.y0, self.y1 = math.log10(low), math.log10(high)
        else:
            if 0 < low < 0.4 * high:
                low = 0.0  # close enough to show how far from nothing it is
            if high - low <= 1e-9 * max(abs(high), abs(low)):
                low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
            margin = 0.04 * (high - low)
            self.y0, self.y1 = (low - margin if low else 0.0), high + margin
            ticks = round_ticks(self.y0, self.y1)
        y_ticks = [(tick, float(self._y(np.array([tick]))[0])) for tick in ticks]
        x_ticks = [(tick, (tick - self.x0) / (self.x1 - self.x0)) for tick in round_steps]
        self.grid = "".join(f"M0 {y:.2f}H{_WIDTH:g}" for _, y in y_ticks)
        self.y_captions = "".join(
            f'<span style="top:{100 * y / _HEIGHT:.2f}%">{short(tick)}</span>' for tick, y in y_ticks
        )
        self.x_captions = "".join(tick_caption(share, short(tick)) for tick, share in x_ticks)
        self.attributes = f' data-x0="{self.x0:g}" data-x1="{self.x1:g}"'

    def line(self, line: Line) -> str:
        """The bands and the line, with the exact values for the pointer."""
        bands = ""
        for low, high in line.bands:
            above, below = self._path(line.steps, high), self._path(line.steps[::-1], low[::-1])
            bands += f'<path class="band" d="{above}L{below[1:]}Z"/>'
        if len(line.values) == 1:  # a line of one point would be invisible
            y = self._y(line.values)[0]
            curve = f"M0 {y:.2f}H{_WIDTH:g}"
        else:
            curve = self._path(line.steps, line.values)
        spread = ""
        if line.bands:
            low, high = line.bands[0]
            spread = f' data-low="{_numbers(low)}" data-high="{_numbers(high)}"'
        return (
            f'<g class="l{line.style % NUM_LINE_STYLES}">{bands}<path class="line" d="{curve}"'
            f' data-name="{escape(line.name)}" data-x="{" ".join(f"{step:.0f}" for step in line.steps)}"'
            f' data-y="{_numbers(line.values)}"{spread}/></g>'
        )

    def _path(self, steps: np.ndarray, values: np.ndarray) -> str:
        x = (steps - self.x0) / (self.x1 - self.x0) * _WIDTH
        return "M" + "L".join(f"{a:.1f} {b:.2f}" for a, b in zip(x, self._y(values), strict=True))

    def _y(self, values: np.ndarray) -> np.ndarray:
        scaled = np.log10(values) if self.log else values
        return _HEIGHT - (scaled - self.y0) / (self.y1 - self.y0) * _HEIGHT


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def _in_words(line: Line) -> str:
    first, last = float(line.values[0]), float(line.values[-1])
    where = f"{line.name}: " if line.name else ""
    return (
        f"{where}{short(first)} at step {line.steps[0]:.0f}, {short(last)} at step {line.steps[-1]:.0f}, "
        f"between {short(float(line.values.min()))} and {short(float(line.values.max()))}"
    )
