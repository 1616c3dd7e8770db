"""Charts of scalars and histograms, and round numbers on their axes."""

from __future__ import annotations

import math
from html.parser import HTMLParser

import numpy as np
import pytest

from sdpn.report.axis import clock, log_ticks, round_ticks, short, spoken_duration, time_ticks
from sdpn.report.curves import MOST_POINTS, draw_chart, histogram_line, scalar_line
from sdpn.report.events import Histogram
from sdpn.report.guide import groups_of


def _line_attributes(html: str) -> list[dict[str, str | None]]:
    found = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            values = dict(attrs)
            if tag == "path" and values.get("class") == "line":
                found.append(values)

    Parser().feed(html)
    return found


def test_a_line_carries_its_values_and_is_drawn_between_its_extremes() -> None:
    html = draw_chart("loss/ce", [scalar_line("", {0: 4.0, 10: 2.0, 20: 3.0})])
    (line,) = _line_attributes(html)
    assert line["data-x"] == "0 10 20"
    assert line["data-y"] == "4 2 3"
    points = [tuple(map(float, point.split())) for point in str(line["d"])[1:].split("L")]
    assert [x for x, _ in points] == [0, 500, 1000]
    heights = [y for _, y in points]
    assert 0 <= heights[0] < heights[2] < heights[1] <= 100  # 4 is above 3 is above 2; y points down
    assert heights[2] == pytest.approx((heights[0] + heights[1]) / 2, abs=0.02)
    assert "4 at step 0, 3 at step 20, between 2 and 4" in html  # said to those who cannot see it


def test_values_that_are_not_finite_are_counted_not_drawn() -> None:
    html = draw_chart("loss/ce", [scalar_line("", {0: 1.0, 1: math.nan, 2: math.inf, 3: 2.0})])
    (line,) = _line_attributes(html)
    assert line["data-x"] == "0 3"
    assert "2 values NaN or infinite" in html
    nothing = draw_chart("loss/ce", [scalar_line("", {0: math.nan})])
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
    assert "log scale" not in draw_chart("g", [scalar_line("", calm)])
    assert "log scale" in draw_chart("g", [scalar_line("", calm | {25: 1e5})])
    assert "log scale" not in draw_chart("g", [scalar_line("", calm | {25: 1e5, 26: 0.0})])


def test_runs_share_axes_and_are_named() -> None:
    lines = [scalar_line("<b>a", {0: 0.0, 10: 1.0}, 0), scalar_line("b", {0: 0.0, 20: 2.0}, 1)]
    html = draw_chart("loss", lines)
    first, second = _line_attributes(html)
    assert (first["data-name"], second["data-name"]) == ("<b>a", "b")
    assert str(first["d"]).split("L")[1].startswith("500.0 ")  # step 10 of 20
    assert "&lt;b&gt;a" in html
    assert "<b>a" not in html
    assert '<span class="l1">b <b>2</b>' in html
    # a run keeps its looks where the other has logged nothing
    assert '<span class="l1">b <b>2</b>' in draw_chart("loss", lines[1:])


@pytest.mark.parametrize("series", [{5: 3.0}, {0: 0.0, 1: 0.0}, {0: -2.0, 1: -2.0}, {0: 1e-30, 1: 1e30}])
def test_odd_series_are_drawn(series) -> None:
    (line,) = _line_attributes(draw_chart("t", [scalar_line("", series)]))
    assert "nan" not in str(line["d"])


def test_histograms_become_quantiles() -> None:
    series = {step: Histogram(0.0, 1.0, np.array([1.0]), np.array([step + 1.0])) for step in range(3)}
    line = histogram_line("", series)  # evenly spread in 0 to 1: the quantiles are the levels
    np.testing.assert_allclose(line.values, 0.5)
    (low, high), (lower, upper) = line.bands
    for found, expected in ((low, 0.05), (high, 0.95), (lower, 0.25), (upper, 0.75)):
        np.testing.assert_allclose(found, expected)


def test_round_ticks() -> None:
    assert round_ticks(0, 1000, 4) == [0, 500, 1000]
    assert round_ticks(0, 10) == [0, 5, 10]
    np.testing.assert_allclose(round_ticks(0.084, 0.088), [0.084, 0.085, 0.086, 0.087, 0.088])
    assert round_ticks(3, 3) == [3]
    assert log_ticks(0.5, 2e3) == [1, 10, 100, 1000]
    assert time_ticks(0, 30) == [0, 5, 10, 15, 20, 25, 30]
    assert time_ticks(0, 3600) == [0, 600, 1200, 1800, 2400, 3000, 3600]
    assert time_ticks(1000, 1010) == [1000, 1002, 1004, 1006, 1008, 1010]


def test_numbers_are_short() -> None:
    assert [short(value) for value in (0, 3.44159, 12345.6, 1e-6, 2.5e-4, 123456.0, -0.5)] == [
        "0", "3.442", "12346", "1e-6", "0.00025", "1.23e5", "-0.5",
    ]  # fmt: skip
    assert clock(75, longest_s=100) == "75 s"
    assert clock(75, longest_s=600) == "1:15"
    assert clock(75, longest_s=7200) == "0:01:15"
    assert [spoken_duration(seconds) for seconds in (1.25, 42, 113, 11_100)] == [
        "1.2 s", "42 s", "1 min 53 s", "3 h 5 min",
    ]  # fmt: skip


def test_known_groups_come_first_and_unknown_ones_are_not_lost() -> None:
    groups = groups_of(["zeta/a", "train/lr", "loss/ce", "prototypes/dead", "alone"])
    assert [group.prefix for group in groups] == ["loss", "train", "prototypes", "alone", "zeta"]
    assert [group.section for group in groups if group.prefix == "prototypes"] == ["prototypes"]
