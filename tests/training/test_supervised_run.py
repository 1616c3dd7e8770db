"""Runs of objective=supervised: learning, folds, best and last, early stopping, resuming, bad labels."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from sdpn.cli.main import main
from sdpn.errors import InputError
from sdpn.models.classifier import read_classifier
from sdpn.models.folder import read_model
from sdpn.report.events import read_event_log
from sdpn.training.config import RunConfig, load_run_config
from sdpn.training.pretrain import pretrain
from tests.conftest import TINY

_SETTINGS = [
    *TINY,
    "objective=supervised",
    "training.workers=0",
    "training.steps=12",
    "supervised.folds=4",
    "supervised.margin_warmup_steps=8",
    "evaluation.every=3",
    "augmentation.preset=none",
]


def _config(*extra: str) -> RunConfig:
    return load_run_config(None, [*_SETTINGS, *extra])


def _hashes(value: Any, name: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        return {k: v for key in value for k, v in _hashes(value[key], f"{name}/{key}").items()}
    if isinstance(value, (list, tuple)):
        return {k: v for i, item in enumerate(value) for k, v in _hashes(item, f"{name}/{i}").items()}
    if isinstance(value, torch.Tensor):
        return {name: hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()}
    return {name: repr(value)}


def _state(out: Path, step: int) -> dict[str, str]:
    return _hashes(torch.load(out / f"checkpoints/step-{step:08d}/state.pt", weights_only=True))


def _stored(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix != ".yaml"}


@pytest.fixture(scope="module")
def learned(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("supervised") / "exp"
    more = ["training.steps=120", "training.batch_size=8", "evaluation.every=40", "optimizer.lr=5e-3"]
    fast = ["supervised.margin=0.1", "teacher.momentum=0", "teacher.final_momentum=0"]
    return out, pretrain(_config(*more, *fast), [voices], out)


def test_voices_are_told_apart(learned: tuple[Path, dict[str, Any]]) -> None:
    """In training; six held-out utterances of voices that were heard three times each would be a lottery."""
    out, results = learned
    errors = [value for _, value in sorted(read_event_log(out / "tensorboard").scalars["loss/error"].items())]
    assert errors[-1] < 0.15  # chance is 5 / 6
    assert results["num_utterances"] == 18


def test_a_model_folder_names_and_finds_its_classes(
    learned: tuple[Path, dict[str, Any]], voices: Path
) -> None:
    out, results = learned
    classifier = read_classifier(out / "model")
    assert classifier.classes.names == tuple(f"voice{index}" for index in range(6))
    from sdpn import load_model
    from sdpn.io.kaldi import read_data_dir

    embedder = load_model(out / "model")
    utterances = read_data_dir(voices)
    rows = torch.stack([torch.from_numpy(embedder.embed(one.read(), 16000)) for one in utterances])
    found = classifier.names_of(classifier.logits(rows))
    right = sum(name == one.speaker for name, one in zip(found, utterances, strict=True))
    assert right >= 14  # of 24; chance is 4
    assert (out / "last/classes.json").is_file() and results["best_step"] in (40, 80, 120)
    assert "classes" not in read_model(out / "model").source  # the folder is still a model like any other


def test_a_continued_run_is_the_uninterrupted_one(voices: Path, tmp_path: Path) -> None:
    config = _config(
        "training.checkpoint_every=5",
        "supervised.sub_centres=2",
        "supervised.nearest=2",
        "augmentation.speed_probability=0.67",
        "initial.prototypes=classes",
    )
    out = tmp_path / "exp"
    pretrain(config, [voices], out)
    expected, models = _state(out, 12), {name: _stored(out / name) for name in ("model", "last")}
    shutil.rmtree(out / "checkpoints/step-00000012")
    shutil.rmtree(out / "model")
    shutil.rmtree(out / "last")
    pretrain(config, [voices], out)  # from step 10, which is no step of an evaluation
    assert _state(out, 12) == expected
    assert {name: _stored(out / name) for name in ("model", "last")} == models


def test_a_finished_run_exports_the_same_again(voices: Path, tmp_path: Path) -> None:
    first = pretrain(_config(), [voices], tmp_path)
    models = {name: _stored(tmp_path / name) for name in ("model", "last")}
    shutil.rmtree(tmp_path / "model")
    assert pretrain(_config(), [voices], tmp_path) == first
    assert {name: _stored(tmp_path / name) for name in ("model", "last")} == models


def test_a_run_without_progress_stops_early_and_stays_stopped(voices: Path, tmp_path: Path) -> None:
    config = _config("supervised.patience=2", "optimizer.lr=1e-12", "optimizer.final_lr=0", "guards.window=0")
    results = pretrain(config, [voices], tmp_path)
    assert results["steps"] == 9 and results["best_step"] == 3  # at 3 the best, at 6 and 9 no better
    assert pretrain(config, [voices], tmp_path) == results
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*"))[-1] == "step-00000009"


def _labels(voices: Path, path: Path, change: dict[str, str | None]) -> Path:
    rows = dict(line.split() for line in (voices / "utt2spk").read_text().splitlines())
    rows = {key: value for key, value in (rows | change).items() if value is not None}
    path.write_text("".join(f"{key} {value}\n" for key, value in rows.items()))
    return path


def test_a_class_with_one_utterance_is_named_and_not_validated(
    voices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = _labels(voices, tmp_path / "labels", {"u07": "lonely"})
    config = _config(f"supervised.labels={labels}", "training.steps=1")
    with caplog.at_level(logging.WARNING):
        results = pretrain(config, [voices], tmp_path / "exp")
    assert "1 classes ('lonely') have one utterance" in caplog.text
    assert "('voice1') have fewer utterances than the 4 folds" in caplog.text
    document = json.loads((tmp_path / "exp/model/classes.json").read_text())
    assert "lonely" in document["classes"] and len(document["classes"]) == 7
    assert results["num_utterances"] in (18, 19)


def test_unlabelled_utterances_are_refused_or_left_out(voices: Path, tmp_path: Path) -> None:
    labels = _labels(voices, tmp_path / "labels", {"u03": None, "u09": None})
    given = [f"supervised.labels={labels}", "training.steps=1", "supervised.folds=0"]
    with pytest.raises(InputError, match=r"no label for 'u03' \(2 of 24 utterances have none\)"):
        pretrain(_config(*given), [voices], tmp_path / "refused")
    results = pretrain(_config(*given, "supervised.unlabelled=drop"), [voices], tmp_path / "dropped")
    assert results["num_utterances"] == 22 and "best_step" not in results
    assert not (tmp_path / "dropped/last").exists()


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({}, ["supervised.folds=5"], "5 folds cannot be made: the largest class, 'voice0', has 4 utterances"),
        ({f"u{i:02}": "one" for i in range(24)}, [], "has 1 class for these utterances"),
        ({f"u{i:02}": f"c{i}" for i in range(24)}, [], "the largest class, 'c0', has 1 utterance"),
    ],
)
def test_classes_and_folds_that_cannot_be_used(
    voices: Path, tmp_path: Path, change: dict[str, str | None], settings: list[str], message: str
) -> None:
    labels = _labels(voices, tmp_path / "labels", change)
    with pytest.raises(InputError, match=message):
        pretrain(_config(f"supervised.labels={labels}", *settings), [voices], tmp_path / "exp")


def test_data_without_speakers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.conftest import write_noise

    data = write_noise(tmp_path / "data", 6)
    assert main(["train", "--data", str(data), "--out", str(tmp_path / "exp"), *_SETTINGS]) == 2
    assert "has no utt2spk" in capsys.readouterr().err


def test_labels_of_the_command_line_are_those_of_the_objective(
    voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = _labels(voices, tmp_path / "labels", {"u00": None})
    command = ["train", "--data", str(voices), "--out", str(tmp_path / "exp"), "--labels", str(labels)]
    assert main([*command, *_SETTINGS]) == 2
    assert "no label for 'u00'" in capsys.readouterr().err
    assert main([*command, *_SETTINGS, "objective=sdpn", "supervised.folds=0"]) == 2
    assert "pseudo.labels is not used by objective=sdpn" in capsys.readouterr().err


def test_another_table_of_labels_is_another_run(voices: Path, tmp_path: Path) -> None:
    labels = _labels(voices, tmp_path / "labels", {})
    config = _config(f"supervised.labels={labels}", "training.steps=1", "supervised.folds=0")
    pretrain(config, [voices], tmp_path / "exp")
    _labels(voices, labels, {f"u{i:02}": "other" for i in (0, 6, 12, 18)})  # the same numbers, another name
    with pytest.raises(InputError, match="made with another configuration"):
        pretrain(config, [voices], tmp_path / "exp")
