"""Scalars and histograms over training steps, as small line charts drawn by matplotlib.

matplotlib draws the axes and the lines; page.css colours them, so that a chart follows the page into dark
mode. Long series are drawn as the mean and the range of equally many neighbouring points, so that no spike is
smoothed away.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdpn.report.events import Histogram

#: Most points of a drawn line.
MOST_POINTS = 240

#: Line styles in page.css (--l0, --l1, …), for charts with several runs.
NUM_LINE_STYLES = 4

#: Left, bottom, width and height of the axes, as shares of a chart: the same in all, so that they line up.
FRAME = (0.135, 0.13, 0.85, 0.84)

#: Starts the ids of artists whose looks are in page.css, under the class that follows.
_STYLED = "css"

_STEPS = (1, 2, 5, 10)
_SIZE_INCHES = (4.5, 2.0)
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

    @property
    def css(self) -> str:
        """CSS class of the run."""
        return f"l{self.style % NUM_LINE_STYLES}"

    @property
    def last(self) -> str:
        """The last value, as text."""
        return short(self.values[-1])

    @property
    def points(self) -> dict[str, Any]:
        """What the pointer reads: name, steps, values and the widest band."""
        columns = {"x": self.steps.round(), "y": self.values}
        if self.bands:
            columns["low"], columns["high"] = self.bands[0]
        return {"name": self.name} | {
            key: [float(short(value)) if key != "x" else int(value) for value in column]
            for key, column in columns.items()
        }

    def __str__(self) -> str:
        where = f"{self.name}: " if self.name else ""
        return (
            f"{where}{short(self.values[0])} at step {self.steps[0]:.0f}, {self.last} at step "
            f"{self.steps[-1]:.0f}, between {short(self.values.min())} and {short(self.values.max())}"
        )


@dataclass(frozen=True)
class Chart:
    """A chart, for the template to put texts around.

    Attributes:
        tag: what is drawn, such as "loss/ce".
        note: a sentence on it.
        lost: sentences on values that could not be drawn.
        lines: the runs with anything to draw.
        svg: the drawing, as HTML without any text from a file; empty where there is no line.
        is_log: whether its y axis is logarithmic.
        steps: first and last step of the x axis.
    """

    tag: str
    note: str
    lost: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    svg: str = ""
    is_log: bool = False
    steps: tuple[float, float] = (0.0, 1.0)


def scalar_line(name: str, series: Mapping[int, float], style: int = 0) -> Line:
    """A scalar over steps: the values themselves, or means and ranges of neighbours if there are many."""
    steps_all = np.array(list(series), dtype=np.float64)
    values_all = np.array(list(series.values()), dtype=np.float64)
    finite = np.isfinite(values_all)
    steps, values = steps_all[finite], values_all[finite]
    num_lost = int((~finite).sum())
    if len(values) <= MOST_POINTS:
        return Line(name, steps, values, (), style, num_lost)
    first = np.linspace(0, len(values), MOST_POINTS, endpoint=False).astype(int)
    counts = np.diff(first, append=len(values))
    middles = np.add.reduceat(steps, first) / counts
    # the outermost points keep the outermost steps, so that the axis shows how long the run was
    middles[[0, -1]] = steps[[0, -1]]
    band = np.minimum.reduceat(values, first), np.maximum.reduceat(values, first)
    return Line(name, middles, np.add.reduceat(values, first) / counts, (band,), style, num_lost)


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


def draw_chart(tag: str, lines: Sequence[Line], *, note: str = "") -> Chart:
    """Draw one chart.

    Args:
        tag: what is drawn, such as "loss/ce".
        lines: one per run.
        note: a sentence on it.
    """
    lost = tuple(
        f"{line.num_lost} value{'s' if line.num_lost > 1 else ''} NaN or infinite"
        + (f" in {line.name}" if line.name else "")
        + ", not plotted."
        for line in lines
        if line.num_lost
    )
    drawn = tuple(line for line in lines if len(line.values))
    if not drawn:
        return Chart(tag, note, lost)
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

    # text stays text, and the fonts are the page's
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=_SIZE_INCHES)
        axes = figure.add_axes(FRAME)
        values = np.concatenate([each for line in drawn for each in (line.values, *sum(line.bands, ()))])
        low, high = float(values.min()), float(values.max())
        # only peaks that would flatten everything else; a value that touches 0 now and then stays linear
        is_log = low > 0 and high / float(np.median(values)) >= _LOG_RATIO
        axes.margins(x=0, y=0.04)
        if is_log:
            axes.set_yscale("log")
        else:
            axes.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
        for line in drawn:
            for lower, upper in line.bands:
                outline = np.r_[line.steps, line.steps[::-1]], np.r_[lower, upper[::-1]]
                axes.fill(*outline, gid=f"{_STYLED}:band {line.css}", clip_on=False)
            if len(line.values) == 1:  # a line of one point would be invisible
                axes.axhline(line.values[0], gid=f"{_STYLED}:line {line.css}", clip_on=False)
            axes.plot(line.steps, line.values, gid=f"{_STYLED}:line {line.css}", clip_on=False)
        if not is_log and 0 <= low < 0.4 * high:
            axes.set_ylim(bottom=0)  # close enough to show how far from nothing it is
        if axes.get_xlim()[1] - axes.get_xlim()[0] < 1:
            axes.set_xlim(drawn[0].steps[0], drawn[0].steps[0] + 1)  # one step, which gets the first tick
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=_STEPS, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axes.grid(axis="y", gid=f"{_STYLED}:grid", clip_on=False)
        axes.minorticks_off()
        axes.tick_params(left=False, bottom=False, labelsize=10)
        axes.spines[:].set_visible(False)
        for background in (figure.patch, axes.patch):
            background.set_visible(False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        first, last = map(float, axes.get_xlim())
    return Chart(tag, note, lost, drawn, _inline(text.getvalue()), is_log, (first, last))


def short(value: float) -> str:
    """A number in at most four significant digits."""
    return f"{value:.4g}"


def _inline(svg: str) -> str:
    """A matplotlib SVG as part of a page: no namespaces, no ids (which would repeat), classes for styles."""
    root = ET.fromstring(svg)
    root.attrib = {"viewBox": root.attrib["viewBox"], "aria-hidden": "true"}
    root[:] = [child for child in root if child.tag.endswith("}g")]  # not a <style> for the whole page
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
        prefix, _, css = node.attrib.pop("id", "").partition(":")
        if prefix == _STYLED:
            node.attrib["class"] = css
            for path in node:
                path.attrib = {"d": re.sub(r"(\.\d\d)\d+", r"\1", " ".join(path.attrib["d"].split()))}
    return ET.tostring(root, encoding="unicode")
