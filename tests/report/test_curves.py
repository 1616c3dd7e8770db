"""Charts of scalars and histograms."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from html import unescape

import numpy as np
import pytest

from sdpn.report.curves import FRAME, MOST_POINTS, Chart, draw_chart, histogram_line, scalar_line, short
from sdpn.report.events import Histogram
from sdpn.report.guide import groups_of
from sdpn.report.page import environment, spoken_duration


def _lines(svg: str) -> list[list[tuple[float, float]]]:
    """The points of every drawn line."""
    groups = [group for group in ET.fromstring(svg).iter("g") if group.get("class", "").startswith("line ")]
    return [
        [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path.attrib["d"])]
        for group in groups
        for path in group
    ]


def _html(chart: Chart) -> str:
    return str(environment().get_template("figures.html.j2").make_module({}).chart(chart))  # type: ignore[attr-defined]


def test_a_line_is_drawn_to_scale_inside_its_frame() -> None:
    chart = draw_chart("loss/ce", [scalar_line("", {0: 4.0, 10: 2.0, 20: 3.0})])
    (points,) = _lines(chart.svg)
    width, height = map(float, ET.fromstring(chart.svg).attrib["viewBox"].split()[2:])
    left, _, share, _ = FRAME
    # the pointer finds its place by this
    assert [x / width for x, _ in points] == pytest.approx([left, left + share / 2, left + share], abs=1e-4)
    assert chart.steps == (0, 20)
    heights = [y for _, y in points]
    assert 0 <= heights[0] < heights[2] < heights[1] <= height  # 4 is above 3 is above 2; y points down
    assert heights[2] == pytest.approx((heights[0] + heights[1]) / 2, abs=0.02)
    html = _html(chart)
    assert "4 at step 0, 3 at step 20, between 2 and 4" in html  # said to those who cannot see it
    assert json.loads(unescape(re.search('data-lines="([^"]*)"', html)[1])) == [
        {"name": "", "x": [0, 10, 20], "y": [4, 2, 3]}
    ]


def test_a_drawing_fits_into_a_page() -> None:
    """No ids, which would repeat; no colours, which the page gives by day and by night; the same twice."""
    lines = [scalar_line("", dict(enumerate(np.sin(np.arange(1000)).tolist())))]
    svg = draw_chart("a", lines).svg
    assert svg == draw_chart("b", lines).svg
    for word in ("id=", "://", "#", "<style", "clip", "href", "metadata"):
        assert word not in svg
    assert {node.tag for node in ET.fromstring(svg).iter()} == {"svg", "g", "path", "text"}


def test_values_that_are_not_finite_are_counted_not_drawn() -> None:
    chart = draw_chart("loss/ce", [scalar_line("", {0: 1.0, 1: math.nan, 2: math.inf, 3: 2.0})])
    assert chart.lines[0].points["x"] == [0, 3]
    assert "2 values NaN or infinite" in _html(chart)
    nothing = _html(draw_chart("loss/ce", [scalar_line("", {0: math.nan})]))
    assert "No finite value" in nothing
    assert "1 value NaN or infinite" in nothing


def test_a_long_series_keeps_its_extremes() -> None:
    values = np.sin(np.arange(100_000) / 1000)
    values[54_321] = 50.0
    line = scalar_line("", dict(enumerate(values.tolist())))
    assert len(line.values) == MOST_POINTS
    ((low, high),) = line.bands
    assert high.max() == 50.0
    assert low.min() == values.min()
    assert (low <= line.values).all()
    assert (line.values <= high).all()
    assert (line.steps[0], line.steps[-1]) == (0, 99_999)


def test_peaks_that_would_flatten_the_rest_get_a_log_scale() -> None:
    calm = {step: 1.0 + 0.1 * (step % 3) for step in range(50)}
    assert not draw_chart("g", [scalar_line("", calm)]).is_log
    assert draw_chart("g", [scalar_line("", calm | {25: 1e5})]).is_log
    assert "log scale" in _html(draw_chart("g", [scalar_line("", calm | {25: 1e5})]))
    assert not draw_chart("g", [scalar_line("", calm | {25: 1e5, 26: 0.0})]).is_log


def test_runs_share_axes_and_are_named() -> None:
    lines = [scalar_line("<b>a", {0: 0.0, 10: 1.0}, 0), scalar_line("b", {0: 0.0, 20: 2.0}, 1)]
    chart = draw_chart("loss", lines)
    first, second = _lines(chart.svg)
    assert first[1][0] == pytest.approx((second[0][0] + second[1][0]) / 2, abs=0.02)  # step 10 of 20
    html = _html(chart)
    assert "&lt;b&gt;a" in html
    assert "<b>a" not in html
    assert '<span class="l1">b <b>2</b>' in html
    # a run keeps its looks where the other has logged nothing
    assert '<span class="l1">b <b>2</b>' in _html(draw_chart("loss", lines[1:]))


@pytest.mark.parametrize(
    "series",
    [
        {5: 3.0},
        {0: 0.0, 1: 0.0},
        {0: -2.0, 1: -2.0},
        {0: 1e-30, 1: 1e30},
        {0: 3e38, 1: -3e38},
        {3: 1, 2**62: 2},
    ],
)
def test_odd_series_are_drawn(series, recwarn) -> None:
    chart = draw_chart("t", [scalar_line("", series)])
    assert len(_lines(chart.svg)) >= 1
    assert "nan" not in chart.svg and "inf" not in chart.svg
    assert chart.steps[0] < chart.steps[1]
    assert not recwarn


def test_histograms_become_quantiles() -> None:
    series = {step: Histogram(0.0, 1.0, np.array([1.0]), np.array([step + 1.0])) for step in range(3)}
    line = histogram_line("", series)  # evenly spread in 0 to 1: the quantiles are the levels
    np.testing.assert_allclose(line.values, 0.5)
    (low, high), (lower, upper) = line.bands
    for found, expected in ((low, 0.05), (high, 0.95), (lower, 0.25), (upper, 0.75)):
        np.testing.assert_allclose(found, expected)


def test_numbers_are_short() -> None:
    assert [short(value) for value in (0, 3.44159, 1e-6, 2.5e-4, -0.5)] == [
        "0", "3.442", "1e-06", "0.00025", "-0.5",
    ]  # fmt: skip
    assert [spoken_duration(seconds) for seconds in (1.25, 42, 113, 11_100)] == [
        "1.2 s", "42 s", "1 min 53 s", "3 h 5 min",
    ]  # fmt: skip


def test_known_groups_come_first_and_unknown_ones_are_not_lost() -> None:
    groups = groups_of(["zeta/a", "train/lr", "loss/ce", "prototypes/dead", "alone"])
    assert [group.prefix for group in groups] == ["loss", "train", "prototypes", "alone", "zeta"]
    assert [group.section for group in groups if group.prefix == "prototypes"] == ["prototypes"]
