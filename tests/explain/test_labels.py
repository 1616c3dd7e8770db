"""Labels and times: tables beside the data, CTM, phones, purity."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdpn.errors import InputError
from sdpn.explain.labels import Token, purity, read_ctm, read_labels_of, tokens_of_frames
from sdpn.explain.phones import is_voiced_phone, phone_class
from tests.explain.conftest import write_voices


def test_labels_of_a_data_directory(tmp_path: Path) -> None:
    utterances = write_voices(tmp_path, [0, 1], 2, seconds=0.5)
    (tmp_path / "spk2age").write_text("v0 9\nv1 41\n")
    (tmp_path / "mood").write_text("v0-1 glad\nv1 sad\n")
    found = read_labels_of(utterances, tmp_path, [tmp_path / "mood"])
    assert found["speaker"].tolist() == ["v0", "v0", "v1", "v1"]
    assert found["gender"].tolist() == ["f", "f", "m", "m"]
    assert found["age group"].tolist() == ["child", "child", "adult", "adult"]
    assert found["mood"].tolist() == ["", "glad", "sad", "sad"]
    (tmp_path / "mood").write_text("nobody glad\n")
    with pytest.raises(InputError, match=r"mood.*none of the utterances"):
        read_labels_of(utterances, tmp_path, [tmp_path / "mood"])
    (tmp_path / "spk2age").write_text("v0 nine\n")
    with pytest.raises(InputError, match=r"spk2age.*'nine'"):
        read_labels_of(utterances, tmp_path)


def test_ctm(tmp_path: Path) -> None:
    path = tmp_path / "phones.ctm"
    path.write_text("a 1 0.00 0.05 h\na 1 0.05 0.10 'E\n\nb 1 0 1 _ extra\n")
    found = read_ctm(path)
    assert found["a"] == [Token(0, 0.05, "h"), Token(0.05, pytest.approx(0.15), "'E")]
    assert tokens_of_frames(found["a"], 20, 0.01).tolist()[:4] == ["h", "h", "h", "h"]
    assert tokens_of_frames(found["a"], 20, 0.01).tolist()[13:15] == ["'E", ""]
    for line in ("a 1 0.0 x h", "a 1 0.0", "a 1 -1 1 h", "a 1 nan 1 h"):
        path.write_text(f"a 1 0 1 h\n{line}\n")
        with pytest.raises(InputError, match=r"phones\.ctm:2: is no line of a CTM"):
            read_ctm(path)


@pytest.mark.parametrize(
    ("phone", "kind", "voiced"),
    [
        ("'oU", "vowel", True), ("a#", "vowel", True), ("3", "vowel", True), ("tS", "affricate", False),
        ("dZ", "affricate", True), ("k", "stop", False), ("g", "stop", True), ("S", "fricative", False),
        ("z", "fricative", True), ("n", "nasal", True), ("r", "approximant", True), ("_:", "pause", False),
        (";", "pause", False),
    ],
)  # fmt: skip
def test_phone_classes(phone: str, kind: str, voiced: bool) -> None:
    assert phone_class(phone) == kind
    assert is_voiced_phone(phone) == voiced


def test_purity_by_hand() -> None:
    assert purity({0: ["f", "f", "m"], 1: ["m", "m", "", ""]}) == pytest.approx(4 / 5)
    assert purity({0: [""]}) == 0
