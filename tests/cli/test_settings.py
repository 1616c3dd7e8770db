"""Settings on the command line: told from options and files, and listed with defaults and help."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from sdpn.cli.settings import listing, split_settings
from sdpn.config import Choice


@dataclass(frozen=True)
class Small:
    """One of two.

    Attributes:
        size: how large, in a sentence that is long enough to be wrapped at the end of the line, since nobody
            wants to scroll sideways in a terminal.
        mode: how.
    """

    kind = "small"
    size: int = 3
    mode: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Whole:
    """All of it.

    Attributes:
        rate: ``x`` per second.

    And a paragraph that is none of theirs.
    """

    part: Annotated[Small | int, Choice("part", {"small": Small(), "smaller": Small(size=1)})] = field(
        default_factory=Small
    )
    rate: float | None = None
    names: tuple[str, ...] = ("u", "v")
    how: Literal["x", "y"] = "x"


def test_every_setting_is_listed_with_default_and_meaning() -> None:
    lines = listing({"": Whole, "other": Small}).splitlines()
    keys = [line.split()[0] for line in lines if line.startswith("  ") and not line.startswith("   ")]
    assert keys == ["part.kind=small", "part.size=3", "part.mode=a", "rate=null", "names=[u,", "how=x",
                    "other.size=3", "other.mode=a"] or keys[4].startswith("names=")  # fmt: skip
    text = " ".join(" ".join(lines).split())
    assert "rate=null x per second." in text and "none of theirs" not in text
    assert "how=x one of x, y" in text and "part.kind=small one of small, smaller" in text
    assert max(map(len, lines)) <= 110


def test_settings_stand_anywhere_but_not_in_the_place_of_a_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("take=1.wav").touch()
    parser = argparse.ArgumentParser()
    parser.add_argument("--out")
    parser.add_argument("--fast", action="store_true")
    words = ["a.wav", "vad.threshold=0.2", "--out", "x=y", "--fast", "seed=3", "take=1.wav", "-=-", "1a=2"]
    left, settings = split_settings(parser, words)
    assert settings == ["vad.threshold=0.2", "seed=3"]
    assert left == ["a.wav", "--out", "x=y", "--fast", "take=1.wav", "-=-", "1a=2"]
