"""Segmentation networks of pyannote.audio: their file, their output, and files that are something else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from sdpn.errors import InputError
from sdpn.interop.load import load_model
from sdpn.interop.segmentation import load_segmentation
from sdpn.interop.segmentation_path import segmentation_path
from sdpn.io.audio import read
from sdpn.models.segmenter import Segmenter
from tests.interop.published_segmentation import expected_output, segmentation_weights, write_segmentation
from tests.interop.published_weights import ecapa


@pytest.fixture(scope="module")
def published() -> Segmenter:
    """segmentation-3.0: ``$SDPN_SEGMENTATION``, or the copy in the cache of Hugging Face."""
    named = os.environ.get("SDPN_SEGMENTATION", "pyannote/segmentation-3.0")
    try:
        path = segmentation_path(named)
    except InputError as error:
        pytest.skip(f"segmentation-3.0 is not here (set SDPN_SEGMENTATION): {error}")
    return load_segmentation(path)


@pytest.mark.parametrize(
    ("clip", "recording"), [("speech8", "../cases/speech8.wav"), ("ami_dev00", "ami_excerpt/dev00.flac")]
)
def test_published_network(clip: str, recording: str, published: Segmenter, shared_data: Path) -> None:
    expected_TC = np.load(shared_data / "parity" / "pyannote_segmentation3.npz")[clip]
    wave_S = read(shared_data / recording)[: published.window_samples]
    found_TC = published.log_probabilities(wave_S[None])[0]
    assert found_TC.shape == expected_TC.shape
    np.testing.assert_allclose(found_TC, expected_TC, atol=1e-3)
    assert published.num_frames == 589 and published.num_speakers == 3


def test_network_of_random_weights(tmp_path: Path) -> None:
    weights = write_segmentation(tmp_path / "pytorch_model.bin", seed=1)
    segmenter = load_segmentation(tmp_path / "pytorch_model.bin")
    wave_S = np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    found_TC = segmenter.log_probabilities(wave_S[None])[0]
    np.testing.assert_allclose(found_TC, expected_output(weights, wave_S), atol=2e-5)
    assert (segmenter.window_samples, segmenter.hop_samples, segmenter.num_frames) == (32_000, 270, 115)
    assert segmenter.frame_samples == 991

    # classes are {}, {1}, {2}, {3}, {1, 2}, {1, 3}, {2, 3}
    p_TC = np.exp(found_TC)
    each_TS = p_TC[:, [[1, 4, 5], [2, 4, 6], [3, 5, 6]]].sum(axis=2)
    active_BTL, together_BTM = segmenter.activities(wave_S[None])
    np.testing.assert_allclose(active_BTL[0], each_TS, atol=1e-6)
    at_least_TM = np.stack([1 - p_TC[:, 0], p_TC[:, 4:].sum(axis=1)], axis=1)
    np.testing.assert_allclose(together_BTM[0], at_least_TM, atol=1e-6)


def test_weights_alone(tmp_path: Path) -> None:
    torch.save(segmentation_weights(seed=1), tmp_path / "alone.bin")
    write_segmentation(tmp_path / "whole.bin", seed=1)
    wave_BS = np.random.default_rng(0).standard_normal((2, 20_000)).astype(np.float32)
    alone, whole = (load_segmentation(tmp_path / name) for name in ("alone.bin", "whole.bin"))
    np.testing.assert_array_equal(alone.log_probabilities(wave_BS), whole.log_probabilities(wave_BS))
    assert (alone.window_samples, whole.window_samples) == (160_000, 32_000)


def test_nothing_of_a_file_is_executed(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'RAN'}",)

    write_segmentation(tmp_path / "a.bin", seed=0, problem=Runs())
    with pytest.raises(InputError, match=r"refers to code, '(posix|nt).system', and was rejected"):
        load_segmentation(tmp_path / "a.bin")
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"powerset_max_classes": None}, "a threshold of its own"),
        ({"powerset_max_classes": 3}, "has 7 classes, but 3 speakers of whom 3 speak together are 8"),
        ({"classes": ["a", "b"]}, "has 7 classes, but 2 speakers of whom 2 speak together are 4"),
        ({"classes": ["a"] * 1000, "powerset_max_classes": 500}, "was trained for"),
        ({"powerset_max_classes": "two"}, "who?m 'two' speak together"),
        ({"duration": None}, "windows of None s"),
        ({"duration": 0.01}, "does not contain a valid PyanNet"),
    ],
)
def test_specifications_that_do_not_fit(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "a.bin", seed=0, **changes)
    with pytest.raises(InputError, match=message):
        load_segmentation(tmp_path / "a.bin")


def test_another_network(tmp_path: Path) -> None:
    torch.save(ecapa(), tmp_path / "embedding.bin")
    with pytest.raises(InputError, match=r"is not a segmentation network.*given with --model"):
        load_segmentation(tmp_path / "embedding.bin")

    weights = segmentation_weights(seed=0)
    del weights["linear.1.bias"]
    weights["lstm.weight_hh_l1"] = torch.zeros(3, 3)
    weights["encoder.weight"] = torch.zeros(3)
    write_segmentation(tmp_path / "partial.bin", seed=0, weights=weights)
    with pytest.raises(InputError) as caught:
        load_segmentation(tmp_path / "partial.bin")
    for fault in ("missing linear.1.bias", "unexpected encoder.weight", "lstm.weight_hh_l1 has shape (3, 3)"):
        assert fault in str(caught.value)

    (tmp_path / "text.bin").write_text("not a network")
    for wrong, message in (
        ("text.bin", "is damaged or not a torch file"),
        ("nothing.bin", "no such segmentation network"),
        (".", "is a folder"),
    ):
        with pytest.raises(InputError, match=message):
            load_segmentation(tmp_path / wrong)


@pytest.mark.parametrize("format", [None, "3dspeaker", "wespeaker", "speechbrain"])
def test_segmentation_is_no_embedding(format: str | None, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "a.bin", seed=0)
    with pytest.raises(InputError, match=r"is a segmentation network, not a.*--segmentation"):
        load_model(tmp_path / "a.bin", format)


def test_the_cache_of_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"is not in the cache of Hugging Face.*hf download"):
        load_segmentation("pyannote/segmentation-3.0")
    copy = tmp_path / "models--pyannote--segmentation-3.0" / "snapshots" / "4ca4d5a" / "pytorch_model.bin"
    copy.parent.mkdir(parents=True)
    write_segmentation(copy, seed=0)
    assert load_segmentation("pyannote/segmentation-3.0").num_speakers == 3
