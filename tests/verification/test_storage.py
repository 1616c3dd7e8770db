"""The file of a back end: what is read is what was written, and damage is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sdpn.errors import InputError
from sdpn.verification.back_end import BackEnd
from sdpn.verification.storage import (
    BACK_END,
    has_back_end,
    model_of_embeddings,
    read_back_end,
    write_back_end,
)


def test_a_round_trip_changes_no_score(back_end: BackEnd, parts: np.ndarray, tmp_path: Path) -> None:
    assert not has_back_end(tmp_path)
    write_back_end(tmp_path / BACK_END, back_end)
    assert has_back_end(tmp_path)
    trial = np.array([0, 1]), np.array([2, 1])
    for path in (tmp_path, tmp_path / BACK_END):
        read = read_back_end(path)
        assert np.array_equal(read.score(parts[:3, 0], *trial), back_end.score(parts[:3, 0], *trial))
        assert read.threshold(0.03) == back_end.threshold(0.03)


def test_a_back_end_records_its_model(back_end: BackEnd, tmp_path: Path) -> None:
    path = tmp_path / BACK_END
    write_back_end(path, back_end)  # as older versions did
    read_back_end(path).refuse_other_model("0123", path=None)
    write_back_end(path, replace(back_end, model="0123"))
    known = read_back_end(path)
    known.refuse_other_model("0123", path=None)
    known.refuse_other_model(None, path=None)  # embeddings from elsewhere
    with pytest.raises(
        InputError, match="other: does not belong to the model that the back end was trained with"
    ):
        known.refuse_other_model("4567", path="other")


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"weights": 3}', "[" * 100_000, "\0"])
def test_embeddings_may_not_say_what_made_them(tmp_path: Path, text: str) -> None:
    assert model_of_embeddings(tmp_path / "embeddings.scp") is None
    (tmp_path / "progress").mkdir()
    (tmp_path / "progress/settings.json").write_text(text)
    assert model_of_embeddings(tmp_path / "embeddings.scp") is None


def test_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such back end") as raised:
        read_back_end(tmp_path)
    assert raised.value.hint is not None and "sdpn backend" in raised.value.hint


def test_one_that_is_cut_off(back_end: BackEnd, tmp_path: Path) -> None:
    path = tmp_path / BACK_END
    write_back_end(path, back_end)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is damaged"):
        read_back_end(path)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mean", np.zeros(5, dtype=np.float32), r"plda.mean has shape \(6,\), not \(5,\)"),
        ("cohort", np.full((60, 6), np.nan, dtype=np.float16), "cohort contains NaN"),
        ("top", np.array([61]), "61 of 60 cohort utterances"),
        ("strangers", np.array([1.0, 0.0], dtype=np.float32), "not ascending quantiles"),
        ("something", np.zeros(1), "is not a back end"),
    ],
)
def test_parts_that_do_not_fit(
    back_end: BackEnd, tmp_path: Path, name: str, value: np.ndarray, words: str
) -> None:
    path = tmp_path / BACK_END
    write_back_end(path, back_end)
    save_file(load_file(path) | {name: value}, path, metadata={"format": "sdpn.back-end/1"})
    with pytest.raises(InputError, match=words):
        read_back_end(path)


def test_another_safetensors_file(tmp_path: Path) -> None:
    save_file({"mean": np.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="is not a back end"):
        read_back_end(tmp_path / "model.safetensors")
