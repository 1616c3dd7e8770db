"""Pseudo-labels: read in the order of the data, refused where they belong to other data."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdpn.distill.labels import read_labels
from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance

_DATA = [Utterance(name, Path("x.wav")) for name in ("b", "a", "c")]


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels"
    path.write_text(text)
    return path


def test_classes_are_numbered_in_the_order_of_the_data(tmp_path: Path) -> None:
    labels = read_labels(_file(tmp_path, "a 7\nb x\nc x\n"), _DATA)
    assert labels.label_N.tolist() == [0, 1, 0] and labels.num_classes == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1\nb 2\n", "has no cluster for 'c' .* of 3"),
        ("a 1\nb 2\nc 3\nd 3\n", "contains 'd', which is not in the training data"),
        ("a 1\nb 1\nc 1\n", "a single cluster"),
        ("a 1\nb\nc 1\n", ":2"),
        ("a 1\na 1\nb 1\nc 1\n", "'a'"),
    ],
)
def test_labels_of_other_data_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_labels(_file(tmp_path, text), _DATA)
    assert "labels" in str(caught.value)
