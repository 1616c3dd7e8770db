"""``sdpn backend``: learned from recordings, found by ``compare`` and ``verify``, and every wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sdpn
from sdpn.cli.main import main
from sdpn.features.log_mel import FeatureConfig
from sdpn.io.kaldi import read_data_dir
from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.folder import ModelFolder, save_model
from sdpn.verification.storage import read_back_end


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=4, bottleneck=8)
    save_model(tmp_path / "model", ModelFolder(Ecapa(config, 80).eval(), config, FeatureConfig()))
    return tmp_path / "model"


def learn(model: Path, data: Path, *options: str) -> int:
    return main(["backend", "--model", str(model), "--data", str(data), "--cohort-size", "20", *options])


def test_compare_takes_what_was_learned(
    model: Path, voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert learn(model, voices) == 0
    assert "24 utterances in 2 parts, as recorded and degraded, 24 classes" in capsys.readouterr().out
    two = [str(utterance.path) for utterance in read_data_dir(voices)[:2]]
    compare = ["compare", "--model", str(model), *two, "--json", str(tmp_path / "compare.json")]

    def result(*options: str) -> dict[str, float | str | bool]:
        assert main([*compare, *options]) == 0
        found: dict[str, float | str | bool] = json.loads((tmp_path / "compare.json").read_text())["results"]
        return found

    back_end = read_back_end(model)
    expected = back_end.score(sdpn.load_model(model).embed(two), np.array([0]), np.array([1]))[0]
    found = result("--false-alarms", "0.2")
    assert found["score"] == pytest.approx(expected, abs=1e-6)
    assert found["threshold"] == back_end.threshold(0.2)
    assert found["same_speaker"] is bool(expected >= back_end.threshold(0.2))
    assert found["strangers_reaching"] == back_end.strangers_reaching(float(expected))
    assert "false-alarm rate 20 %" in capsys.readouterr().out
    assert result("--threshold", "-99")["same_speaker"] is True
    by_cosine = result("--cosine", "--threshold", "1")
    assert by_cosine["score"] == found["cosine"] and by_cosine["scored_by"] == "cosine"


def test_verify_applies_it_and_lists_its_steps(
    model: Path, voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.safetensors"
    assert learn(model, voices, "--out", str(file)) == 0
    extract = ["extract", "--model", str(model), "--data", str(voices), "--out", str(tmp_path / "x")]
    assert main([*extract, "--precision", "fp32"]) == 0
    trials, scp = str(voices / "trials"), str(tmp_path / "x/embeddings.scp")
    verify = ["verify", "--trials", trials, "--embeddings", scp, "--back-end", str(file)]
    assert main([*verify, "--scores", str(tmp_path / "scores")]) == 0
    assert "length 1, AS-norm (top 20 of 20)" in capsys.readouterr().out
    one, two, score = (tmp_path / "scores").read_text().splitlines()[0].split()
    embeddings = sdpn.load_model(model).embed(
        [utterance.path for name in (one, two) for utterance in read_data_dir(voices) if utterance.id == name]
    )
    expected = read_back_end(file).score(embeddings, np.array([0]), np.array([1]))[0]
    assert float(score) == pytest.approx(expected, abs=1e-3)
    assert main([*verify, "--mean", scp]) == 2
    assert "--back-end includes a mean" in capsys.readouterr().err


def test_another_model_is_refused(
    model: Path, voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.safetensors"
    assert learn(model, voices, "--out", str(file)) == 0
    torch.manual_seed(1)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=4, bottleneck=8)
    save_model(tmp_path / "other", ModelFolder(Ecapa(config, 80).eval(), config, FeatureConfig()))
    half = ["convert", "--model", str(model), "--out", str(tmp_path / "half"), "--half"]
    assert main(half) == 0
    two = [str(utterance.path) for utterance in read_data_dir(voices)[:2]]
    table = ["--trials", str(voices / "trials"), "--resamples", "10", "--back-end", str(file)]
    for name, code in (
        ("model", 0),
        ("half", 0),
        ("other", 2),
    ):  # the same model in 16 bits is the same model
        folder = str(tmp_path / name)
        out = tmp_path / f"embeddings.{name}"
        assert main(["extract", "--model", folder, "--data", str(voices), "--out", str(out), "--quiet"]) == 0
        capsys.readouterr()
        for command in (
            ["compare", "--model", folder, "--back-end", str(file), *two],
            ["verify", "--embeddings", str(out / "embeddings.scp"), *table],
        ):
            assert main(command) == code
            assert ("does not belong to the model" in capsys.readouterr().err) == (code == 2)


def test_classes(model: Path, voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert learn(model, voices, "--classes", str(voices / "utt2spk")) == 0
    assert "6 classes" in capsys.readouterr().out
    lines = (voices / "utt2spk").read_text().splitlines()
    (tmp_path / "some").write_text("\n".join(lines[1:]) + "\n")
    assert learn(model, voices, "--classes", str(tmp_path / "some")) == 2
    error = capsys.readouterr().err
    assert f"has no class for {lines[0].split()[0]!r} (1 of 24" in error


def test_noise_changes_what_is_learned(
    model: Path, voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Noise is a difference within voices: the parts of an utterance lie further apart."""
    clean, noisy = (tmp_path / f"{name}.safetensors" for name in ("clean", "noisy"))
    assert learn(model, voices, "--out", str(clean), "--clean") == 0
    assert "24 utterances in 2 parts, 24 classes" in capsys.readouterr().out
    assert learn(model, voices, "--out", str(noisy), "--noise", str(voices), "--rir", str(voices)) == 0
    assert "2 parts, as recorded and degraded, 24 classes" in capsys.readouterr().out

    def within(path: Path) -> float:
        inverse = np.linalg.inv(read_back_end(path).plda.transform_ED)
        return float(np.trace(inverse @ inverse.T))

    assert within(noisy) > 1.05 * within(clean)
    assert learn(model, voices, "--clean", "--rir", str(voices)) == 2
    assert "--clean leaves out the copies" in capsys.readouterr().err


def test_bad_input_is_one_line_and_writes_nothing(
    model: Path, voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = [str(utterance.path) for utterance in read_data_dir(voices)[:2]]
    compare = ["compare", "--model", str(model), *two]
    for arguments, words in (
        (["backend", "--data", str(voices)], "the back end of the default model is not replaced"),
        (["backend", "--model", str(model), "--data", str(tmp_path / "none")], "none"),
        ([*compare, "--false-alarms", "0.1"], "needs a back end"),
        ([*compare, "--false-alarms", "2"], "is not a rate"),
        ([*compare, "--false-alarms", "0.1", "--threshold", "0"], "exclude each other"),
        ([*compare, "--back-end", str(tmp_path)], "no such back end"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert not (model / "back_end.safetensors").exists()
