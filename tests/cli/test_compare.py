"""``sdpn compare``: a score, a decision, and the threshold behind it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import sdpn
from sdpn.cli.main import main
from sdpn.features.log_mel import FeatureConfig
from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.folder import ModelFolder, save_model


def _model(path: Path, calibration: dict[str, float]) -> Path:
    torch.manual_seed(0)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=12, bottleneck=8)
    save_model(path, ModelFolder(Ecapa(config, 80).eval(), config, FeatureConfig(), calibration))
    return path


@pytest.fixture
def recordings(tmp_path: Path) -> list[str]:
    paths = []
    for name, seconds, rate_hz in (("a.wav", 1.5, 16000), ("b.flac", 2.5, 44100)):
        wave = 0.1 * np.random.default_rng(len(paths)).standard_normal(round(seconds * rate_hz))
        soundfile.write(tmp_path / name, wave, rate_hz)
        paths.append(str(tmp_path / name))
    return paths


def test_the_score_is_the_cosine_of_the_two_embeddings(
    recordings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _model(tmp_path / "model", {})
    results = tmp_path / "results.json"
    assert main(["compare", "--model", str(model), *recordings, "--json", str(results)]) == 0
    a, b = (sdpn.load_model(model).embed(path) for path in recordings)
    expected = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    found = json.loads(results.read_text())["results"]
    assert found["score"] == pytest.approx(expected, abs=1e-5)
    assert found["threshold"] is found["same_speaker"] is None
    assert "no calibrated threshold" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("calibration", "options", "threshold", "words"),
    [
        ({"ahc_threshold": 0.26}, [], 0.26, "without labels, on windows of 1.5 s"),
        ({"ahc_threshold": 0.26, "verification_threshold": 0.3}, [], 0.3, "equal error rate on trials"),
        ({"ahc_threshold": 0.26}, ["--threshold", "-0.5"], -0.5, "--threshold"),
    ],
)
def test_the_source_of_the_threshold_is_reported(
    recordings: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    calibration: dict[str, float],
    options: list[str],
    threshold: float,
    words: str,
) -> None:
    model = _model(tmp_path / "model", calibration)
    assert main(["compare", "--model", str(model), *options, recordings[0], recordings[0]]) == 0
    printed = capsys.readouterr().out
    assert "score      1.0000" in printed and "the same speaker" in printed
    assert f"threshold  {threshold:.4f}" in printed and words in printed


def test_below_the_threshold_they_are_two(
    recordings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _model(tmp_path / "model", {})
    assert main(["compare", "--model", str(model), "--threshold", "1", *recordings]) == 0
    assert "different speakers" in capsys.readouterr().out


def test_bad_input_is_one_line(
    recordings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(_model(tmp_path / "model", {}))
    for arguments, words in (
        ([recordings[0], str(tmp_path / "none.wav")], "none.wav: no such audio file"),
        ([*recordings, "--threshold", "2"], "is not a cosine"),
    ):
        assert main(["compare", "--model", model, *arguments]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
