"""What a notebook shows of a result."""

from __future__ import annotations

import itertools
import pickle
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter
from pyannote.core import Annotation, Segment

from sdpn.diarization.pipeline import LabelledRecording, together
from sdpn.formats.who_spoke_when import WhoSpokeWhen
from sdpn.io.rttm import Turn, to_annotation
from sdpn.io.turns_html import turns_html
from tests.browser import opened

TURNS = [
    Turn("meeting", 0.0, 4.0, "Anna"),
    Turn("meeting", 3.5, 6.5, "Ben"),
    Turn("meeting", 75.0, 5.0, "Anna"),
]


class Reader(HTMLParser):
    """Elements and text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_notebook_shows_the_timeline_of_every_result() -> None:
    """As IPython asks for it; nothing is drawn, so that no display is needed."""
    annotation = to_annotation(TURNS)
    results = {
        "annotation": annotation,
        "several channels": together([annotation]),
        "a part of it": annotation.crop(Segment(0.0, 90.0)),
        "other names": annotation.rename_labels({}),
        "from another process": pickle.loads(pickle.dumps(annotation)),
        "labelled": LabelledRecording(annotation=annotation, exclusive=annotation, count_posterior=None),
        "for files": WhoSpokeWhen(
            recording="meeting", audio=None, duration_s=80.0, turns=TURNS, exclusive=TURNS
        ),
    }
    for what, result in results.items():
        data, _ = DisplayFormatter().format(result)
        assert data.keys() == {"text/plain", "text/html"}, what
        page = Reader(data["text/html"])
        assert "meeting" in page.text and "2 speakers, 3 turns, 1:20" in page.text, what
        assert [attributes["title"] for _, attributes in page.elements if "title" in attributes] == [
            "Anna",
            "Ben",
        ]


def test_bars_are_where_the_turns_are() -> None:
    page = Reader(to_annotation(TURNS)._repr_html_())
    bars = [(attributes["x"], attributes["width"]) for tag, attributes in page.elements if tag == "rect"]
    assert bars == [("0.00", "50.00"), ("937.50", "62.50"), ("43.75", "81.25")]
    assert "1:15.0 to 1:20.0" in page.text and "0:03.5 to 0:10.0" in page.text
    assert page.text.split()[-3:] == ["0:00", "0:30", "1:00"]


def test_it_is_an_annotation_in_every_other_respect() -> None:
    ours = to_annotation(TURNS)
    theirs = Annotation(uri="meeting")
    for track, turn in enumerate(TURNS):
        theirs[Segment(turn.onset_s, turn.end_s), track] = turn.speaker
    assert isinstance(ours, Annotation) and str(ours) == str(theirs)
    assert list(ours.itertracks(yield_label=True)) == list(theirs.itertracks(yield_label=True))
    assert ours.chart() == theirs.chart() and ours.get_timeline() == theirs.get_timeline()


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e5), st.floats(0.001, 1e3), st.text() | st.sampled_from(["<script>", "'\"&"])
        ),
        max_size=8,
    ),
    st.text() | st.just("</div><img src=x onerror=alert(1)>"),
)
def test_names_are_text_and_nothing_else(turns: list[tuple[float, float, str]], name: str) -> None:
    html = turns_html([(start, start + length, who) for start, length, who in turns], name=name)
    page = Reader(html)
    assert {tag for tag, _ in page.elements} <= {"div", "b", "svg", "rect", "title", "span"}
    allowed = {
        "style",
        "title",
        "role",
        "aria-label",
        "viewbox",
        "preserveaspectratio",
        "x",
        "width",
        "height",
    }
    assert all(attributes.keys() <= allowed | {"fill"} for _, attributes in page.elements)
    assert not re.search(r"nan|inf\b", " ".join(str(a.get("x")) for tag, a in page.elements if tag == "rect"))


def test_without_turns() -> None:
    assert "0 speakers, 0 turns, 0:00" in Reader(to_annotation([])._repr_html_()).text
    assert "0 turns, 1:00" in Reader(turns_html([], name="silence", duration_s=60.0)).text


def test_a_day_of_a_crowd_stays_small() -> None:
    rng = np.random.default_rng(0)
    starts = np.sort(rng.uniform(0, 86400, 100_000))
    who = rng.integers(0, 300, len(starts))
    html = turns_html([(at, at + 1.0, f"speaker{number}") for at, number in zip(starts, who, strict=True)])
    assert len(html) < 4_000_000 and "and 260 more" in html
    one = turns_html([(at, at + 1.0, "one") for at in starts])
    assert len(one) < 200_000


def test_it_is_seen(tmp_path: Path) -> None:
    (tmp_path / "cell.html").write_text(
        f"<!doctype html><meta charset=utf-8>{to_annotation(TURNS)._repr_html_()}"
    )
    with opened(tmp_path / "cell.html", dark=True) as page:
        boxes = [bar.bounding_box() for bar in page.query_selector_all("rect")]
        assert len(boxes) == 3 and all(box is not None and box["width"] > 10 for box in boxes)
        assert "Ben" in page.inner_text("body")


@pytest.mark.parametrize("width", [390, 1100])
def test_the_marks_of_the_axis_are_whole_and_apart(tmp_path: Path, width: int) -> None:
    """Of recordings from a second to a week, also where the last mark is at the very end."""
    lengths = [1.0, 4.99, 5.0, 6.0, 30.0, 59.9, 80.0, 600.0, 3600.0, 7199.0, 21600.0, 86400.0, 6 * 86400.0]
    cells = [turns_html([(0.0, length, "A" * 30)], duration_s=length) for length in lengths]
    (tmp_path / "cells.html").write_text(f"<!doctype html><meta charset=utf-8>{''.join(cells)}")
    with opened(tmp_path / "cells.html", width=width) as page:
        axes = page.evaluate(
            """[...document.querySelectorAll("div")].filter((div) => div.querySelector(":scope > span")).map(
            (axis) => [axis, ...axis.children].map((each) => {
                const box = each.getBoundingClientRect();
                return [box.left, box.right];
            }))"""
        )
    assert len(axes) == len(lengths)
    for (left, right), *marks in axes:
        assert 2 <= len(marks) <= 5
        assert all(left <= start and end <= right for start, end in marks)
        assert all(before[1] + 3 < after[0] for before, after in itertools.pairwise(marks))
