"""``sdpn train`` while audio files disappear: a few are skipped and named, more stop it, and it can go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sdpn.cli.main import main
from sdpn.training.checkpoint import CheckpointStore
from tests.conftest import TINY, write_noise

#: Four utterances a step of twelve: every three steps ask for each of them.
_STEPS = 12

AfterStep = Callable[[int, Callable[[], object]], None]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_noise(tmp_path / "data", 12, num_samples=19200)


@pytest.fixture
def after_step(monkeypatch: pytest.MonkeyPatch) -> AfterStep:
    """Function that lets something happen in the middle of a run: when it has saved the state of a step."""
    save = CheckpointStore.save
    planned: dict[int, Callable[[], object]] = {}

    def saved(store: CheckpointStore, step: int, state: dict[str, Any]) -> None:
        save(store, step, state)
        planned.get(step, lambda: None)()

    monkeypatch.setattr(CheckpointStore, "save", saved)
    return planned.__setitem__


def _train(data: Path, out: Path, workers: int = 0) -> int:
    """At most one of the twelve files may be bad; nothing stays in memory that could stand for it."""
    settings = ["training.max_bad_share=0.1", "training.cache_mb=0", "training.checkpoint_every=2"]
    settings += [f"training.steps={_STEPS}", f"training.workers={workers}"]
    report = ["--json", str(out.with_suffix(".json"))]
    return main(["train", "--data", str(data), "--out", str(out), *report, *TINY, *settings])


def _checkpoints(out: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (out / "checkpoints").glob("step-*"))


def _bad_files(out: Path) -> dict[int, float]:
    """The curve that counts them."""
    curves = EventAccumulator(str(out / "tensorboard")).Reload()
    return {event.step: event.value for event in curves.Scalars("train/bad_files")}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_disappears_is_skipped_counted_and_named_once(
    data: Path, tmp_path: Path, after_step: AfterStep, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    gone = data / "03.wav"
    after_step(2, gone.unlink)
    assert _train(data, tmp_path / "exp", workers) == 0
    problem = f"{gone}: no such audio file"
    assert json.loads((tmp_path / "exp.json").read_text())["results"]["bad_files"] == [problem]
    assert caplog.text.count(str(gone)) == 1 and f"skipped: {problem}" in caplog.text
    counted = _bad_files(tmp_path / "exp")
    assert counted[2] == 0 and counted[_STEPS] == 1
    assert _checkpoints(tmp_path / "exp")[-1] == _STEPS
    assert (tmp_path / "exp/model/model.safetensors").is_file()


@pytest.mark.parametrize("workers", [0, 1])
def test_more_files_than_may_be_stop_the_run_which_goes_on_when_they_are_back(
    data: Path,
    tmp_path: Path,
    after_step: AfterStep,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    workers: int,
) -> None:
    out, whole = tmp_path / "exp", shutil.copytree(data, tmp_path / "whole")
    after_step(2, lambda: [(data / name).unlink() for name in ("03.wav", "07.wav")])
    assert _train(data, out, workers) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("sdpn train: error: 2 of 12 audio files cannot be used, more than")
    assert "max_bad_share=0.1" in error and all(name in error for name in ("03.wav", "07.wav"))
    assert "Traceback" not in error and not (out / "model").exists()
    assert 2 <= _checkpoints(out)[-1] < _STEPS

    for path in whole.glob("*.wav"):
        shutil.copy(path, data)
    caplog.clear()
    assert _train(data, out, workers) == 0
    assert "no such audio file" not in caplog.text
    assert _checkpoints(out)[-1] == _STEPS and (out / "model/model.safetensors").is_file()


def test_a_run_that_was_interrupted_goes_on_counting(
    data: Path, tmp_path: Path, after_step: AfterStep, caplog: pytest.LogCaptureFixture
) -> None:
    out, gone = tmp_path / "exp", data / "03.wav"
    after_step(2, gone.unlink)
    after_step(8, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as caught:
        _train(data, out)
    assert caught.value.code == 128 + signal.SIGTERM and _checkpoints(out)[-1] == 9
    assert caplog.text.count(str(gone)) == 1

    caplog.clear()
    assert _train(data, out) == 0
    assert str(gone) not in caplog.text
    problems = json.loads((tmp_path / "exp.json").read_text())["results"]["bad_files"]
    assert problems == [f"{gone}: no such audio file"]
    assert set(_bad_files(out).values()) == {0.0, 1.0} and _bad_files(out)[_STEPS] == 1
