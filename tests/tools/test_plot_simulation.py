"""tools/plot_simulation.py draws what it is given, and cuts real recordings where it should."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from sdpn.io.rttm import Turn, write_rttms

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "plot_simulation.py"
spec = importlib.util.spec_from_file_location("plot_simulation", SCRIPT)
assert spec is not None
assert spec.loader is not None
plot_simulation = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plot_simulation)


def test_pieces_by_hand() -> None:
    """25 s in pieces of 10 s: two whole ones; a turn across the cut is in both."""
    turns = [Turn("rec", 1.0, 3.0, "A"), Turn("rec", 8.0, 5.0, "B"), Turn("rec", 21.0, 4.0, "A")]
    assert plot_simulation.cut({"rec": turns}, 10.0) == {
        "rec from 0 s": [Turn("rec from 0 s", 1.0, 3.0, "A"), Turn("rec from 0 s", 8.0, 2.0, "B")],
        "rec from 10 s": [Turn("rec from 10 s", 0.0, 3.0, "B")],
    }


def test_a_picture_and_distances(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turns = []
    for number in range(12):  # pauses, gaps, overlaps and interjections
        turns += [
            Turn("rec", 10.0 * number, 3.0, "A"),
            Turn("rec", 10.0 * number + 3.5, 2.0, "A"),
            Turn("rec", 10.0 * number + 1.0, 0.5, "B"),
            Turn("rec", 10.0 * number + 5.0, 3.0, "B"),
        ]
    write_rttms(tmp_path / "rec.rttm", turns)
    rttm, png = str(tmp_path / "rec.rttm"), tmp_path / "out" / "picture.png"
    options = ["--simulated", rttm, "--real", str(tmp_path), "--png", str(png)]
    assert plot_simulation.main([*options, "--recording", "rec"]) == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(line.endswith("KS 0.000") for line in lines)  # it is compared with itself
    assert plot_simulation.main([*options, "--recording", "other"]) == 2
    assert "has no recording 'other'" in capsys.readouterr().err
