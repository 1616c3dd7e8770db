"""What a run survives: a dashboard that fails, kills, the clock, mixes that are silent; how it ends else."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import sdpn.training.checkpoint
from sdpn.augmentation.augment import Augmenter
from sdpn.config import load_config
from sdpn.data.dataset import CropDataset, load_batches
from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance, read_data_dir, write_data_dir
from sdpn.tracking.board import Board
from sdpn.training.config import RunConfig
from sdpn.training.evaluation import Evaluation
from sdpn.training.pretrain import pretrain
from sdpn.training.step import Update
from tests.conftest import TINY

_STEPS = 8
_RUN = [*TINY, f"training.steps={_STEPS}", "training.workers=0", "training.checkpoint_every=4"]


def _train(data: Path, out: Path, *settings: str) -> dict[str, Any]:
    return pretrain(load_config(RunConfig, None, [*_RUN, *settings]), [data], out, on_progress=lambda _: None)


def _same(one: Any, two: Any, name: str = "") -> None:
    """Two nested states are equal, bit for bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two), name
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), name
        for key in one:
            _same(one[key], two[key], f"{name}.{key}")
    elif isinstance(one, (list, tuple)):
        for place, (a, b) in enumerate(zip(one, two, strict=True)):
            _same(a, b, f"{name}[{place}]")
    else:
        assert one == two, name


def _final(out: Path) -> Any:
    return torch.load(out / f"checkpoints/step-{_STEPS:08d}/state.pt", weights_only=True)


@pytest.fixture(scope="module")
def whole(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    _train(voices, out)
    return out


def test_what_fails_on_the_dashboard_warns_and_changes_nothing(
    voices: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("MKL FFT error:\nInconsistent configuration parameters")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        for owner, name in ((Evaluation, "eer"), *((Board, n) for n in ("prototypes", "projector", "graph"))):
            patched.setattr(owner, name, fail)
        trials = [f"evaluation.data={voices}", f"evaluation.trials={voices / 'trials'}", "evaluation.every=2"]
        _train(voices, tmp_path, *trials)
    warned = [record.message for record in caplog.records if "MKL FFT error" in record.message]
    assert len(warned) == 4  # each once, and in one line
    assert all("\n" not in line and "training continues without" in line for line in warned)
    _same(_final(tmp_path), _final(whole))
    assert (tmp_path / "model/model.safetensors").is_file()
    # started again, what was due at the last step and failed is made up for
    _train(voices, tmp_path)
    assert "prototypes/dead" in _points(tmp_path) and _STEPS in _points(tmp_path)["prototypes/dead"]


def _points(out: Path) -> dict[str, list[int]]:
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


class _Killed(BaseException):
    """Stands for SIGKILL: nothing in the program catches it."""


@pytest.mark.parametrize("moment", [4, _STEPS, "export"])
def test_killed_while_looking_or_exporting_the_run_goes_on_as_if_not(
    voices: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int | str
) -> None:
    look = Board.prototypes

    def killed_at(board: Board, step: int, **tensors: Any) -> Any:
        if step == moment:
            raise _Killed
        return look(board, step, **tensors)

    def killed(*_: Any, **__: Any) -> None:
        raise _Killed

    with monkeypatch.context() as patched:
        if moment == "export":
            patched.setattr("sdpn.training.export.save_model", killed)
        else:
            patched.setattr(Board, "prototypes", killed_at)
        with pytest.raises(_Killed):
            _train(voices, tmp_path)
    assert (
        tmp_path / f"checkpoints/step-{moment if moment == 4 else _STEPS:08d}"
    ).is_dir()  # no step is lost
    assert not (tmp_path / "model").exists()
    _train(voices, tmp_path)
    _same(_final(tmp_path), _final(whole))
    for name in ("model.safetensors", "pretraining.safetensors"):
        assert (tmp_path / "model" / name).read_bytes() == (whole / "model" / name).read_bytes()
    points = _points(tmp_path)
    assert set(points["prototypes/dead"]) == {4, 8} and set(points["loss/total"]) == {2, 4, 6, 8}


def test_a_finished_run_is_not_looked_at_again(
    voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(voices, tmp_path)
    monkeypatch.setattr(Board, "__init__", lambda *_, **__: pytest.fail("opened the dashboard"))
    _train(voices, tmp_path)


def test_checkpoints_by_the_clock_change_nothing(voices: Path, whole: Path, tmp_path: Path) -> None:
    clock = [
        "training.checkpoint_minutes=1e-9",
        "training.checkpoint_every=1000",
        "training.keep_checkpoints=99",
    ]
    _train(voices, tmp_path, *clock)
    steps = sorted(folder.name for folder in (tmp_path / "checkpoints").iterdir())
    assert steps == [f"step-{step:08d}" for step in range(1, _STEPS + 1)]
    _same(_final(tmp_path), _final(whole))
    for step in range(4, _STEPS + 1):  # and a run goes on from any of them
        for part in (tmp_path / f"checkpoints/step-{step:08d}").iterdir():
            part.unlink()
    _train(voices, tmp_path)
    _same(_final(tmp_path), _final(whole))


def test_an_export_again_names_the_code_that_trained(
    voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_by = {"sdpn": "0.0.1", "torch": "2.0", "commit": "abc"}
    with monkeypatch.context() as patched:
        patched.setattr(sdpn.training.checkpoint, "provenance", lambda: trained_by)
        _train(voices, tmp_path)
    first = (tmp_path / "model/config.yaml").read_text()
    assert trained_by.items() <= yaml.safe_load(first)["source"].items()
    _train(voices, tmp_path)
    assert (tmp_path / "model/config.yaml").read_text() == first


# ---- failures of the machine ------------------------------------------------------------------------------


@pytest.fixture
def one_line(voices: Path, tmp_path: Path) -> Any:
    """Function that trains and returns the one line that it ends with."""

    def train(*settings: str) -> str:
        with pytest.raises(InputError) as caught:
            _train(voices, tmp_path, *settings)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return train


def test_a_killed_loader_process(one_line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CropDataset, "__getitems__", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    line = one_line("training.workers=1")
    assert line.startswith("a loader process was killed") and "lower training.cache_mb (now 1024)" in line


def test_no_memory_in_a_loader_process(one_line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CropDataset, "__getitems__", lambda *_: np.empty(2**55))
    line = one_line("training.workers=1")
    assert line.startswith("ran out of memory (") and "Unable to allocate 256. PiB" in line
    assert "Traceback" not in line and "training.workers (now 1)" in line


def test_no_memory_in_an_update(one_line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Update, "__call__", lambda *_, **__: torch.empty(2**50))
    assert "training.accumulate=2 (now 1)" in one_line()


def test_no_memory_on_a_gpu(one_line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")

    monkeypatch.setattr(Update, "__call__", fail)
    line = one_line("training.batch_size=8")
    assert "training.batch_size (now 8)" in line and "cache_mb" not in line


def test_other_failures_keep_their_traceback(
    voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Update, "__call__", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        _train(voices, tmp_path)


def test_loader_processes_see_no_signal(voices: Path) -> None:
    config = load_config(RunConfig, None, _RUN)
    dataset = CropDataset(
        read_data_dir(voices), config.crops, Augmenter(config.augmentation), seed=0, cache_mb=1
    )
    before = set(active_children())
    batches = load_batches(dataset, batch_size=4, seed=0, start_step=0, end_step=30, workers=2)
    next(batches)
    loaders = set(active_children()) - before
    assert len(loaders) == 2
    names = ("INT", "TERM", "HUP", "USR1")
    for loader in loaders:
        for name in names:  # as kill(1) and timeout(1) send them
            subprocess.run(["kill", "-s", name, str(loader.pid)], check=True)
    assert sum(1 for _ in batches) == 29
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_loader_processes_end_with_their_parent(voices: Path) -> None:
    """As multiprocessing does when a program ends; else one that failed would never end."""
    config = load_config(RunConfig, None, _RUN)
    dataset = CropDataset(
        read_data_dir(voices), config.crops, Augmenter(config.augmentation), seed=0, cache_mb=1
    )
    before = set(active_children())
    batches = load_batches(dataset, batch_size=4, seed=0, start_step=0, end_step=10**6, workers=1)
    next(batches)
    (loader,) = set(active_children()) - before
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        loader.terminate()
        loader.join(30)
        assert not loader.is_alive()
        for _ in batches:
            pass


# ---- channels that cancel ---------------------------------------------------------------------------------


@pytest.mark.parametrize("prototypes", ["uniform", "kmeans"])
def test_a_channel_of_opposite_phase_stereo(
    tmp_path: Path, prototypes: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The mean of the channels is digital silence; training reads one of them, everywhere."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "stereo"
    folder.mkdir()
    utterances = []
    for index in range(24):
        wave = rng.standard_normal(16000 * 4) * 0.1
        soundfile.write(folder / f"{index}.wav", np.stack([wave, -wave], axis=1), 16000)
        utterances.append(Utterance(f"u{index:02}", folder / f"{index}.wav"))
    write_data_dir(folder, utterances)
    with caplog.at_level(logging.WARNING):
        _train(folder, tmp_path / "run", "crops.channel=0", f"initial.prototypes={prototypes}")
    assert not caplog.records
    assert yaml.safe_load((tmp_path / "run/model/config.yaml").read_text())["calibration"]
    metadata = next((tmp_path / "run/tensorboard").glob("*/prototypes*/metadata.tsv")).read_text()
    assert metadata.count("utterance\t") > 10


def test_a_projector_of_nothing_but_silence_shows_the_prototypes(
    voices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "silence"
    folder.mkdir()
    for index in range(4):
        soundfile.write(folder / f"{index}.wav", np.zeros(20000), 16000)
    write_data_dir(folder, [Utterance(f"s{index}", folder / f"{index}.wav") for index in range(4)])
    (folder / "trials").write_text("1 s0 s1\n0 s2 s3\n")
    _train(voices, tmp_path / "run", f"evaluation.data={folder}", f"evaluation.trials={folder / 'trials'}")
    metadata = next((tmp_path / "run/tensorboard").glob("*/prototypes*/metadata.tsv")).read_text()
    assert len(metadata.splitlines()) == 1 + 10
    assert not [record for record in caplog.records if "projector" in record.message]
