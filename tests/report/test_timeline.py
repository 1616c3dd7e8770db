"""The drawing of a recording: colours, places, and names that are no HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from sdpn.io.rttm import Turn
from sdpn.report.alignment import Alignment, align
from sdpn.report.page import environment
from sdpn.report.timeline import NUM_SPEAKER_COLOURS, clock, draw_timeline, merge_narrow


def _html(alignment: Alignment, description: str = "d") -> str:
    figures = environment().get_template("figures.html.j2").module
    return str(figures.timeline(draw_timeline(alignment), description))  # type: ignore[attr-defined]


class _Groups(HTMLParser):
    """Collects, per ``<g data-who>``, its classes and rectangles; and all tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.groups: dict[str, tuple[str, list[dict[str, str | None]]]] = {}
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        if tag == "g" and "data-who" in values:
            self._open = [str(values["data-who"])]
            self.groups.setdefault(self._open[0], (str(values["class"]), []))
        elif tag == "rect" and self._open:
            self.groups[self._open[0]][1].append(values)

    handle_startendtag = handle_starttag


def _turns(*rows: tuple[float, float, str]) -> list[Turn]:
    return [Turn("r", start, end - start, speaker) for start, end, speaker in rows]


def test_matched_speakers_share_a_colour_and_unmatched_ones_are_hollow() -> None:
    alignment = align(_turns((0, 4, "A"), (5, 9, "B")), _turns((0, 3, "x"), (5, 9, "y"), (9, 10, "z")))
    groups = _Groups(_html(alignment)).groups
    assert groups["reference: A"][0].split() == ["ref", "s0"]
    assert groups["hypothesis: x"][0].split() == ["hyp", "s0"]
    assert groups["reference: B"][0].split() == ["ref", "s1"]
    assert groups["hypothesis: y"][0].split() == ["hyp", "s1"]
    assert groups["hypothesis: z"][0].split() == ["hyp", "unmatched"]


def test_rectangles_are_in_seconds_and_the_reference_is_above() -> None:
    alignment = align(_turns((1, 4, "A")), _turns((1, 3, "x")), uem=[(0, 10)])
    html = _html(alignment)
    groups = _Groups(html).groups
    (above,), (below,) = groups["reference: A"][1], groups["hypothesis: x"][1]
    assert (float(above["x"]), float(above["width"])) == (1, 3)
    assert (float(below["x"]), float(below["width"])) == (1, 2)
    assert float(above["y"]) + float(above["height"]) <= float(below["y"])
    (missed,) = groups["missed"][1]
    assert (float(missed["x"]), float(missed["width"])) == (3, 1)
    assert groups.keys().isdisjoint({"false alarm", "confusion"})
    assert re.search(r'viewBox="0.0 0 10\.000 ', html)


def test_drawn_error_seconds_are_those_of_the_alignment() -> None:
    alignment = align(
        _turns((0, 10, "A"), (2, 4, "B"), (6, 9, "C")), _turns((1, 5, "x"), (3, 3.5, "y"), (7, 12, "y"))
    )
    groups = _Groups(_html(alignment)).groups
    for kind in ("missed", "false alarm", "confusion"):
        spans = [error for error in alignment.errors if error.kind == kind]
        drawn = sum(float(str(bar["width"])) for bar in groups.get(kind, ("", []))[1])
        assert abs(drawn - sum(error.end_s - error.start_s for error in spans)) < 1e-3


def test_names_are_text_whatever_they_hold() -> None:
    evil = '"><img/src=x/onerror=alert(1)>&'
    alignment = align(_turns((0, 4, evil)), _turns((0, 4, "</span><script>"), (4, 5, evil)))
    html = _html(alignment, f"with {evil}")
    parsed = _Groups(html)
    assert parsed.tags.isdisjoint({"img", "script"})
    assert f"reference: {evil}" in parsed.groups
    assert "hypothesis: </span><script>" in parsed.groups


def test_more_speakers_than_colours_still_have_lanes() -> None:
    count = NUM_SPEAKER_COLOURS + 5
    turns = _turns(*((number, number + 1, f"S{number:02d}") for number in range(count)))
    groups = _Groups(_html(align(turns, turns))).groups
    assert sum(who.startswith("reference") for who in groups) == count


def test_hours_with_thousands_of_turns_stay_small_and_can_be_zoomed() -> None:
    turns = _turns(*((5 * number, 5 * number + 4.0, f"S{number % 4}") for number in range(3600)))  # 5 h
    html = _html(align(turns, turns, uem=[(0, 18_000)]))
    assert len(html) < 1_500_000
    assert 'class="zoom"' in html
    assert "4:00:00" in html
    short = _html(align(turns[:10], turns[:10]))
    assert 'class="zoom"' not in short


def test_no_speech() -> None:
    assert "There is no speech" in _html(align([], []))


def test_spans_closer_than_a_pixel_become_one() -> None:
    spans = [(0.0, 1.0), (1.05, 2.0), (2.5, 2.51), (4.0, 5.0)]
    assert merge_narrow(spans, 0.1) == [(0.0, 2.0, 2), (2.5, 2.6, 1), (4.0, 5.0, 1)]
    assert merge_narrow(spans, 0.001) == [(start, end, 1) for start, end in spans]


def test_a_span_inside_another_does_not_shorten_it() -> None:
    assert merge_narrow([(0.0, 9.0), (1.0, 2.0)], 0.1) == [(0.0, 9.0, 2)]


def test_thousands_of_spans_need_no_more_than_the_pixels() -> None:
    spans = [(0.01 * number, 0.01 * number + 0.004) for number in range(100_000)]  # 1000 s
    assert len(merge_narrow(spans, 1.0)) == 1
    assert len(merge_narrow(spans[::500], 1.0)) <= 1000 / 2


def test_times_on_the_axis_are_round() -> None:
    def times(start_s: float, end_s: float) -> list[float]:
        drawing = draw_timeline(align(_turns((start_s, end_s, "A")), [], uem=[(start_s, end_s)]))
        assert drawing is not None
        return [time for time, _, _ in drawing["ticks"]]

    assert times(0, 30) == [0, 5, 10, 15, 20, 25, 30]
    assert times(0, 3600) == [0, 600, 1200, 1800, 2400, 3000, 3600]
    assert times(1000, 1010) == [1000, 1002, 1004, 1006, 1008, 1010]
    assert clock(75, longest_s=100) == "75 s"
    assert clock(75, longest_s=600) == "1:15"
    assert clock(75, longest_s=7200) == "0:01:15"
