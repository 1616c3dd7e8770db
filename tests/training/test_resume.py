"""A run that was killed and started again is the run that was not."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import sdpn
from sdpn.cli.main import main
from sdpn.features.log_mel import FeatureConfig
from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.folder import ModelFolder, save_model
from tests.conftest import POSITIVES, TINY, write_noise

_STEPS = 24


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("data"), 10)


def _arguments(data: Path, out: Path, *extra: str) -> list[str]:
    # a queue and a loss scale, so that there is all that a state can hold
    more = ["training.checkpoint_every=3", "sdpn.queue_size=14", *POSITIVES, "training.precision=fp16"]
    settings = [*TINY, f"training.steps={_STEPS}", *more, "training.workers=2", *extra]
    return ["train", "--data", str(data), "--out", str(out), *settings]


def _command(data: Path, out: Path, *extra: str) -> list[str]:
    return [sys.executable, "-m", "sdpn.cli.main", *_arguments(data, out, *extra)]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _run(data: Path, out: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(data, out, *extra), env=_environment(), capture_output=True, text=True)


def _hashes(value: Any, name: str = "") -> dict[str, str]:
    """Hash of every tensor, and the value of everything else, in a nested state."""
    if isinstance(value, dict):
        return {k: v for key in value for k, v in _hashes(value[key], f"{name}/{key}").items()}
    if isinstance(value, (list, tuple)):
        return {k: v for i, item in enumerate(value) for k, v in _hashes(item, f"{name}/{i}").items()}
    if isinstance(value, torch.Tensor):
        return {name: hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()}
    return {name: repr(value)}


def _final_state(out: Path) -> dict[str, str]:
    return _hashes(torch.load(out / f"checkpoints/step-{_STEPS:08d}/state.pt", weights_only=True))


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    result = _run(data, out)
    assert result.returncode == 0, result.stderr
    return out


def test_the_keys_of_a_state_are_pinned(uninterrupted: Path) -> None:
    state = torch.load(uninterrupted / f"checkpoints/step-{_STEPS:08d}/state.pt", weights_only=True)
    assert set(state) == {
        "step", "model", "optimizer", "scaler", "rng", "sampler", "tracking", "guards"
    }  # fmt: skip
    roots = {".".join(key.split(".")[:2]) for key in state["model"]}
    networks = {"student.encoder", "student.head", "teacher.encoder", "teacher.head"}
    memory = {"memory.rows_ME", "memory.utterance_M", "memory._extra_state"}
    assert roots == {*networks, "prototypes", "queue.rows_QE", "queue._extra_state", *memory}
    assert state["model"]["queue._extra_state"] == {"pushed": _STEPS * 4}
    assert state["model"]["memory._extra_state"] == {"step": _STEPS, "pushed": _STEPS * 4}
    assert state["scaler"]["scale"] > 0
    assert len(state["rng"]) == 1 and set(state["rng"][0]) == {"cpu", "cuda"}
    place = {"epoch": _STEPS * 4 // 10, "position": _STEPS * 4 % 10}
    assert state["sampler"] == {**place, "bad_files": {}}


def _wait_for(condition: Any, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, "the run ended or hung before the kill"
        time.sleep(0.002)


@pytest.mark.parametrize("moment", ["mid-epoch", pytest.param("during a save", marks=pytest.mark.slow)])
def test_kill_9_and_the_same_command_give_the_uninterrupted_run(
    data: Path, uninterrupted: Path, tmp_path: Path, moment: str
) -> None:
    out = tmp_path / "killed"
    checkpoints = out / "checkpoints"

    def saving() -> bool:
        return checkpoints.is_dir() and any(
            name.startswith(".step-0000000") and (checkpoints / "step-00000003").is_dir()
            for name in os.listdir(checkpoints)
        )

    def in_the_middle() -> bool:
        return (checkpoints / "step-00000006").is_dir()

    process = subprocess.Popen(_command(data, out), env=_environment(), stderr=subprocess.DEVNULL)
    _wait_for(saving if moment == "during a save" else in_the_middle, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (checkpoints / f"step-{_STEPS:08d}").exists()
    result = _run(data, out)
    assert result.returncode == 0 and "resuming at step" in result.stderr, result.stderr
    assert not list(checkpoints.glob(".*"))  # no half-written checkpoint is left behind
    assert _final_state(out) == _final_state(uninterrupted)


def _begun(command: list[str]) -> subprocess.Popen[str]:
    """A run in a process group of its own, after its first steps."""
    process = subprocess.Popen(
        command, env=_environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    next(line for line in process.stderr if line.startswith("step "))
    return process


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1],
)
def test_a_signal_to_the_group_saves_and_exits_and_the_run_goes_on(
    data: Path, uninterrupted: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "stopped"
    process = _begun(_command(data, out, "training.checkpoint_every=1000"))
    os.killpg(process.pid, number)
    _, message = process.communicate()
    assert process.returncode == 128 + number
    (line,) = [line for line in message.splitlines() if not line.startswith(("step ", "WARNING", "INFO"))]
    assert line.startswith(f"sdpn train: stopped by {number.name} after step")
    assert line.endswith("state saved; rerun the command to resume")
    assert [name for name in os.listdir(out / "checkpoints") if name.startswith("step-")]
    assert _run(data, out).returncode == 0
    assert _final_state(out) == _final_state(uninterrupted)


@pytest.mark.slow
def test_a_seed_gives_the_same_run_and_another_seed_another(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    assert _run(data, tmp_path / "again", "training.workers=0").returncode == 0
    assert _final_state(tmp_path / "again") == _final_state(uninterrupted)
    assert _run(data, tmp_path / "other", "training.seed=1").returncode == 0
    assert _final_state(tmp_path / "other") != _final_state(uninterrupted)


@pytest.mark.slow
def test_a_finished_run_only_exports_again(data: Path, uninterrupted: Path) -> None:
    before = (uninterrupted / "model/model.safetensors").read_bytes()
    result = _run(data, uninterrupted)
    assert result.returncode == 0 and "step 2/" not in result.stderr
    assert (uninterrupted / "model/model.safetensors").read_bytes() == before


def test_another_configuration_in_the_same_folder_is_refused(
    data: Path, uninterrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(data, uninterrupted, "optimizer.lr=0.5")) == 2
    assert "optimizer.lr: 0.001 -> 0.5" in capsys.readouterr().err


@pytest.mark.slow
def test_another_number_of_prototypes_or_another_objective_is_refused(
    data: Path, uninterrupted: Path
) -> None:
    result = _run(data, uninterrupted, "sdpn.num_prototypes=12")
    assert result.returncode == 2 and "sdpn.num_prototypes: 10 -> 12" in result.stderr
    result = _run(data, uninterrupted, "objective=dino")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "belongs to a run with objective 'sdpn', not 'dino'" in result.stderr


@pytest.mark.slow
def test_a_distillation_goes_on_bit_for_bit_even_where_its_teacher_has_gone(tmp_path: Path) -> None:
    data = write_noise(tmp_path / "data", 8)
    torch.manual_seed(1)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=20, bottleneck=8)
    teacher = tmp_path / "teacher"
    save_model(teacher, ModelFolder(Ecapa(config, 80).eval(), config, FeatureConfig()))
    settings = [
        "--objective=distill",
        f"--teacher={teacher}",
        "distill.num_prototypes=10",
        "initial.prototypes=kmeans",
        "augmentation.speed_probability=0.7",
        "crops.longest_local_s=0.7",
    ]
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    assert (result := _run(data, whole, *settings)).returncode == 0, result.stderr
    assert "more than the" not in result.stderr
    process = subprocess.Popen(
        _command(data, halved, *settings), env=_environment(), stderr=subprocess.DEVNULL
    )
    _wait_for((halved / "checkpoints/step-00000006").is_dir, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    shutil.rmtree(teacher)
    result = _run(data, halved, *settings)
    assert result.returncode == 0 and "using its embeddings in" in result.stderr, result.stderr
    assert _final_state(halved) == _final_state(whole)
    assert sdpn.load_model(halved / "model").embedding_dim == 12  # the linear map is not part of it
    # the teacher's outputs belong to the run
    shutil.rmtree(halved / "teacher")
    torch.manual_seed(2)
    save_model(teacher, ModelFolder(Ecapa(config, 80).eval(), config, FeatureConfig()))
    result = _run(data, halved, *settings)
    assert result.returncode == 2 and "distill.targets:" in result.stderr and "Traceback" not in result.stderr
