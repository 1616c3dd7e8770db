"""Utterances and their parts: what is embedded, and what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sdpn.errors import InputError
from sdpn.extraction.embed_parts import embed_parts
from sdpn.io.kaldi import Utterance, read_data_dir, write_data_dir
from sdpn.models.embedder import Embedder


class Loudness(Embedder):
    """A model whose embedding can be seen in the samples: their number, and their mean."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.encoder = torch.nn.Identity()  # type: ignore[assignment]

    def embed_batch(self, waves: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([[len(wave), wave.mean()] for wave in waves], dtype=np.float32)


def speech(folder: Path, waves: dict[str, np.ndarray]) -> list[Utterance]:
    (folder / "audio").mkdir()
    for name, wave in waves.items():
        soundfile.write(folder / f"audio/{name}.wav", wave, 16000, subtype="FLOAT")
    utterances = [Utterance(name, folder / f"audio/{name}.wav") for name in waves]
    write_data_dir(folder / "data", utterances)
    return read_data_dir(folder / "data")


def test_parts_cover_the_utterance_once(tmp_path: Path) -> None:
    waves = {f"u{n:02}": np.r_[np.full(n + 8000, 0.25), np.full(n + 8000, 0.5)] for n in range(40)}
    embedded = embed_parts(Loudness(), speech(tmp_path, waves))
    assert embedded.ids == list(waves) and not embedded.left_out
    n = np.arange(40)
    assert embedded.whole_ND[:, 0] == pytest.approx(2 * n + 16000)
    assert embedded.parts_NPD[:, 0] == pytest.approx(np.stack([n + 8000, np.full(40, 0.25)], axis=1))
    assert embedded.parts_NPD[:, 1] == pytest.approx(np.stack([n + 8000, np.full(40, 0.5)], axis=1))


def test_every_part_is_degraded_by_itself(tmp_path: Path) -> None:
    waves = {name: np.full(16000, 0.25) for name in ("a", "b")}
    utterances = speech(tmp_path, waves)
    embedded = embed_parts(Loudness(), utterances, degrade=lambda wave, rng: wave + rng.random())
    assert embedded.parts_NPD.shape == (2, 4, 2)
    assert embedded.parts_NPD[:, :2, 1] == pytest.approx(0.25) and embedded.whole_ND[:, 1] == pytest.approx(
        0.25
    )
    expected = 0.25 + np.random.default_rng(0).random(
        (2, 3)
    )  # two parts and the utterance, one after another
    assert embedded.parts_NPD[:, 2:, 1] == pytest.approx(expected[:, :2], rel=1e-4)
    assert embedded.degraded_ND is not None and embedded.degraded_ND[:, 1] == pytest.approx(
        expected[:, 2], rel=1e-4
    )


def test_unusable_utterances_are_left_out_and_reported(tmp_path: Path) -> None:
    good = np.random.default_rng(0).normal(size=32000) * 0.1
    half_silent = np.r_[good[:16000], np.zeros(16000)]
    waves = {"a": good, "b": good[:20000], "c": half_silent, "d": good, "e": good}
    utterances = speech(tmp_path, waves)
    (tmp_path / "audio/d.wav").write_bytes(b"no audio")
    embedded = embed_parts(Loudness(), utterances, parts=3)
    assert embedded.ids == ["a", "e"]
    assert embedded.parts_NPD.shape == (2, 3, 2)
    assert embedded.left_out.keys() == {"b", "c", "d"}
    assert "1.25 s are too short for 3 parts" in embedded.left_out["b"]
    assert "silence" in embedded.left_out["c"] and "d.wav" in embedded.left_out["d"]


def test_nothing_remains(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of 1 utterances .*a: 0\.01 s are too short"):
        embed_parts(Loudness(), speech(tmp_path, {"a": np.full(160, 0.1)}))
