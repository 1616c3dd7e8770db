"""Paths in reports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.report.shown_paths import shown_path, without_folders


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/anna/corpora/data/train", "…/data/train"),
        ("a=/x/y/z/w.yaml", "a=…/z/w.yaml"),
        ("exp/mini", "exp/mini"),
        ("../exp/a", "../exp/a"),
        ("/tmp/x", "…/x"),
        ("/home/anna lee/my data/train", "…/my data/train"),
        (r"C:\Users\anna\data\train", "…/data/train"),
        (r"--data=D:/anna/data/train", "--data=…/data/train"),
        (r"\\server\share\anna\train", "…/anna/train"),
        ("file:///home/anna/train", "file:…/anna/train"),
        ("noise: [/a/b/c/d, '/e/f/g/h', /i]", "noise: […/c/d, '…/g/h', …/i]"),
        ("source: https://example.org/a/b", "source: https://example.org/a/b"),
        ("a: /home/anna/x\nb: 3/4\nc: n/a", "a: …/anna/x\nb: 3/4\nc: n/a"),
        ("/", "/"),
    ],
)
def test_folders_of_one_machine_are_left_out(text: str, shown: str) -> None:
    assert without_folders(text) == shown
    assert without_folders(shown) == shown


def test_a_relative_path_is_whole() -> None:
    assert shown_path("exp: old/a/b/c.rttm") == "exp: old/a/b/c.rttm"


@given(st.lists(st.from_regex(r"[a-zA-Z0-9_. -]*[a-zA-Z0-9_]", fullmatch=True), min_size=3, max_size=6))
def test_any_path_keeps_its_end(parts: list[str]) -> None:
    parts = [part.strip() or "x" for part in parts]
    assert shown_path("/" + "/".join(parts)) == "…/" + "/".join(parts[-2:])
