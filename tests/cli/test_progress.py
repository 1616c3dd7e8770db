"""sdpn.cli.progress: a bar on a terminal, lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from sdpn.cli import progress
from sdpn.cli.progress import Meter, track


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(3), description="embedding", total=3)) == [0, 1, 2]
    assert capsys.readouterr() == ("", "embedding: 3/3 in 0 s\n")


def test_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    times_s = iter([100.0, 110.0, 120.0, 130.0, 137.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times_s))
    assert list(track("abcd", description="reading", total=4)) == list("abcd")
    assert capsys.readouterr().err == "reading: 2/4 in 20 s\nreading: 4/4 in 37 s\n"


def test_quiet_and_empty_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(3), description="embedding", total=3, quiet=True)) == [0, 1, 2]
    assert list(track([], description="embedding", total=0)) == []
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(track(range(3), description="embedding", total=3)) == [0, 1, 2]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "embedding: 100%" in shown.err
    assert "3/3" in shown.err


def test_items_are_taken_one_by_one() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(3):
            taken.append(item)
            yield item

    tracked = track(items(), description="embedding", total=3)
    assert next(tracked) == 0
    assert taken == [0]


def test_a_meter_prints_a_line_now_and_then_and_the_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times_s = iter([100.0, 110.0, 120.0, 121.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times_s))
    meter = Meter()
    for done in (1, 2, 3):
        meter.show("epoch 1", done, 3, f"inertia {10 - done}")
    meter.finish()
    meter.finish()
    assert capsys.readouterr().err == "epoch 1: 2/3 in 20 s, inertia 8\nepoch 1: 3/3 in 21 s, inertia 7\n"


def test_a_meter_is_a_bar_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    meter = Meter()
    for stage in ("reading", "epoch 1"):
        meter.show(stage, 1, 3, "inertia 8")
        meter.show(stage, 3, 3, "inertia 7")
    meter.finish()
    shown = capsys.readouterr().err
    assert "reading: 100%" in shown
    assert "epoch 1: 100%" in shown
    assert "3.00/3.00" in shown
    assert "inertia 7" in shown


def test_a_quiet_meter(capsys: pytest.CaptureFixture[str]) -> None:
    meter = Meter(quiet=True)
    meter.show("reading", 1, 3)
    meter.finish()
    assert capsys.readouterr() == ("", "")
