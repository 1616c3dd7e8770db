"""``sdpn train`` as a command: what it writes, what it refuses, and that its model embeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from sdpn.cli.main import main
from sdpn.io.kaldi import Utterance, read_vectors, write_data_dir
from tests.conftest import TINY


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data with space"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rates = [16000, 8000, 44100, 16000, 16000]
    utterances = []
    for index, rate in enumerate(rates):
        seconds = 0.1 if index == 3 else 1.2
        wave = rng.standard_normal((int(rate * seconds), 2 if rate == 44100 else 1)) * 0.1
        soundfile.write(folder / f"{index}.wav", wave, rate)
        utterances.append(Utterance(f"u{index}", folder / f"{index}.wav"))
    write_data_dir(folder, utterances)
    return folder


def _train(data: Path, out: Path, *extra: str) -> int:
    settings = [*TINY, "training.steps=3", "training.workers=0", *extra]
    return main(["train", "--data", str(data), "--out", str(out), "--quiet", *settings])


def test_train_then_extract(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _train(data, tmp_path / "exp", "--json", str(tmp_path / "train.json")) == 0
    for name in (
        "model/config.yaml",
        "model/model.safetensors",
        "model/pretraining.safetensors",
        "config.yaml",
    ):
        assert (tmp_path / "exp" / name).is_file()
    assert list((tmp_path / "exp/tensorboard").glob("events*"))
    assert list((tmp_path / "exp/checkpoints").glob("step-00000003"))
    document = json.loads((tmp_path / "train.json").read_text())
    assert document["schema"] == "sdpn.train/1" and document["results"]["steps"] == 3

    model, out = str(tmp_path / "exp/model"), tmp_path / "embeddings"
    assert main(["extract", "--model", model, "--data", str(data), "--out", str(out), "--quiet"]) == 0
    vectors = read_vectors(out / "embeddings.scp")
    assert list(vectors) == [f"u{index}" for index in range(5)]
    assert all(vector.shape == (12,) for vector in vectors.values())
    assert "5 embeddings of 12 dimensions" in capsys.readouterr().out


def test_no_steps_export_the_untrained_network(data: Path, tmp_path: Path) -> None:
    assert _train(data, tmp_path / "exp", "training.steps=0") == 0
    assert (tmp_path / "exp/model/model.safetensors").is_file()
    assert not (tmp_path / "exp/tensorboard").exists()


def _corrupt(path: Path, kind: str) -> None:
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        soundfile.write(path, np.full(16000, np.nan), 16000, subtype="FLOAT")


@pytest.mark.parametrize("kind", ["missing", "empty", "NaN"])
def test_bad_audio_stops_training_with_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    _corrupt(data / "1.wav", kind)
    assert _train(data, tmp_path / "exp") == 2
    error = capsys.readouterr().err
    assert "1.wav" in error and "Traceback" not in error
    assert not (tmp_path / "exp/model").exists()


def test_bad_audio_in_a_loader_process_reads_the_same(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _corrupt(data / "1.wav", "NaN")
    assert _train(data, tmp_path / "exp", "training.workers=1") == 2
    error = capsys.readouterr().err
    assert error.startswith("sdpn train: error:") and "1.wav" in error and "Traceback" not in error


def test_an_unknown_key_names_the_nearest(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path / "exp", "sdpn.num_prototype=3") == 2
    assert "did you mean 'sdpn.num_prototypes'" in capsys.readouterr().err
    assert not (tmp_path / "exp").exists()


@pytest.mark.slow
def test_settings_stand_before_between_and_after_options(data: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text("training: {workers: 0, seed: 4}\n")
    out = tmp_path / "exp"
    files = ["--config", str(tmp_path / "tiny.yaml"), "training.steps=0", "--data", str(data)]
    settings = ["training.seed=5", "sdpn.num_prototypes=11"]
    assert main(["train", *TINY, *files, *settings, "--out", str(out), "guards.window=70"]) == 0
    written = yaml.safe_load((out / "config.yaml").read_text())
    training = written["training"]
    assert (training["steps"], training["seed"], training["workers"]) == (0, 5, 0)
    sizes = written["encoder"]["channels"], written["sdpn"]["num_prototypes"], written["guards"]["window"]
    assert sizes == (16, 11, 70)


def test_a_mistyped_option_between_settings(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path / "exp", "--confg", "mini.yaml", "training.steps=1") == 2
    assert capsys.readouterr().err == "sdpn train: error: unknown option --confg; did you mean '--config'?\n"
    with pytest.raises(SystemExit):
        main(["train", "training.steps=1", "--data", str(data), "training.seed=1"])
    assert "the following arguments are required: --out" in capsys.readouterr().err


def test_the_same_utterance_in_two_directories_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["train", "--data", str(data), "--data", str(data), "--out", str(tmp_path / "exp"), *TINY])
    assert code == 2 and "also in another --data" in capsys.readouterr().err
