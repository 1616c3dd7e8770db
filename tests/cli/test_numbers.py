"""Numbers on the command line: invalid and out-of-range values are reported with the option's name."""

from __future__ import annotations

import pytest

from sdpn.cli.main import main

NUMBERS = [
    ("cluster", "--min-windows", 1),
    ("extract", "--threads", 1),
    ("score", "--resamples", 1),
    ("simulate", "--jobs", 1),
    ("verify", "--top-n", 1),
    ("backend", "--parts", 2),
]


@pytest.mark.parametrize(("command", "option", "fewest"), NUMBERS)
def test_whole_numbers(command: str, option: str, fewest: int, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (str(fewest - 1), "1.5", "many", ""):
        with pytest.raises(SystemExit, match="2"):
            main([command, option, wrong])
        error = f"error: argument {option}: expected a whole number of at least {fewest}, found {wrong!r}"
        assert capsys.readouterr().err.splitlines()[-1].endswith(error)


@pytest.mark.parametrize("wrong", ["-0.1", "inf", "nan", "quarter"])
def test_seconds(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["score", f"--collar={wrong}"])
    assert capsys.readouterr().err.endswith(f"argument --collar: expected seconds >= 0, found {wrong!r}\n")
