"""The drawing of a recording: colours, places, and names that are no HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from sdpn.io.rttm import Turn
from sdpn.report.alignment import align
from sdpn.report.timeline import NUM_SPEAKER_COLOURS, draw_timeline


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
            self.groups[self._open[0]] = (str(values["class"]), [])
        elif tag == "rect" and self._open:
            self.groups[self._open[0]][1].append(values)

    handle_startendtag = handle_starttag


def _turns(*rows: tuple[float, float, str]) -> list[Turn]:
    return [Turn("r", start, end - start, speaker) for start, end, speaker in rows]


def test_matched_speakers_share_a_colour_and_unmatched_ones_are_hollow() -> None:
    alignment = align(_turns((0, 4, "A"), (5, 9, "B")), _turns((0, 3, "x"), (5, 9, "y"), (9, 10, "z")))
    groups = _Groups(draw_timeline(alignment, description="d")).groups
    assert groups["reference: A"][0].split() == ["ref", "s0"]
    assert groups["hypothesis: x"][0].split() == ["hyp", "s0"]
    assert groups["reference: B"][0].split() == ["ref", "s1"]
    assert groups["hypothesis: y"][0].split() == ["hyp", "s1"]
    assert groups["hypothesis: z"][0].split() == ["hyp", "unmatched"]


def test_rectangles_are_in_seconds_and_the_reference_is_above() -> None:
    alignment = align(_turns((1, 4, "A")), _turns((1, 3, "x")), uem=[(0, 10)])
    html = draw_timeline(alignment, description="d")
    groups = _Groups(html).groups
    (above,), (below,) = groups["reference: A"][1], groups["hypothesis: x"][1]
    assert (float(above["x"]), float(above["width"])) == (1, 3)
    assert (float(below["x"]), float(below["width"])) == (1, 2)
    assert float(above["y"]) + float(above["height"]) <= float(below["y"])
    (missed,) = groups["missed"][1]
    assert (float(missed["x"]), float(missed["width"])) == (3, 1)
    assert groups["false alarm"][1] == groups["confusion"][1] == []
    assert re.search(r'viewBox="0 0 10\.000 ', html)


def test_drawn_error_seconds_are_those_of_the_alignment() -> None:
    alignment = align(
        _turns((0, 10, "A"), (2, 4, "B"), (6, 9, "C")), _turns((1, 5, "x"), (3, 3.5, "y"), (7, 12, "y"))
    )
    groups = _Groups(draw_timeline(alignment, description="d")).groups
    for kind in ("missed", "false alarm", "confusion"):
        spans = [error for error in alignment.errors if error.kind == kind]
        drawn = sum(float(str(bar["width"])) for bar in groups[kind][1])
        assert abs(drawn - sum(error.end_s - error.start_s for error in spans)) < 1e-3


def test_names_are_text_whatever_they_hold() -> None:
    evil = '"><img/src=x/onerror=alert(1)>&'
    alignment = align(_turns((0, 4, evil)), _turns((0, 4, "</span><script>"), (4, 5, evil)))
    html = draw_timeline(alignment, description=f"with {evil}")
    parsed = _Groups(html)
    assert parsed.tags.isdisjoint({"img", "script"})
    assert f"reference: {evil}" in parsed.groups
    assert "hypothesis: </span><script>" in parsed.groups


def test_more_speakers_than_colours_still_have_lanes() -> None:
    count = NUM_SPEAKER_COLOURS + 5
    turns = _turns(*((number, number + 1, f"S{number:02d}") for number in range(count)))
    groups = _Groups(draw_timeline(align(turns, turns), description="d")).groups
    assert sum(who.startswith("reference") for who in groups) == count


def test_hours_with_thousands_of_turns_stay_small_and_can_be_zoomed() -> None:
    turns = _turns(*((5 * number, 5 * number + 4.0, f"S{number % 4}") for number in range(3600)))  # 5 h
    html = draw_timeline(align(turns, turns, uem=[(0, 18_000)]), description="d")
    assert len(html) < 1_500_000
    assert 'class="zoom"' in html
    assert "4:00:00" in html
    short = draw_timeline(align(turns[:10], turns[:10]), description="d")
    assert 'class="zoom"' not in short


def test_nobody_speaks() -> None:
    assert "There is no speech" in draw_timeline(align([], []), description="d")
