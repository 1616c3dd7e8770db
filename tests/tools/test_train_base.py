"""tools/train_base.sh with networks and steps as small as they get: every command is the real one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdpn.cli.main import main
from sdpn.training.config import load_run_config
from tests.conftest import ROOT, TINY, write_noise

_SCRIPT = ROOT / "tools" / "train_base.sh"


@pytest.fixture(scope="module")
def packs(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two packed corpora, and noise that is not."""
    folder = tmp_path_factory.mktemp("packs with a space")
    more = write_noise(folder / "more data", 8, num_samples=24000)
    for data, name in ((voices, "voices"), (more, "more")):
        assert main(["pack", "--data", str(data), "--out", str(folder / "packs" / name), "--quiet"]) == 0
    write_noise(folder / "packs/noise", 2)
    return folder / "packs"


def _start(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(_SCRIPT), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )


def _run(*args: str, code: int = 0) -> str:
    process = _start(*args)
    said, _ = process.communicate(timeout=500)
    assert process.returncode == code, said[-4000:]
    return said


def _tiny(*, second: bool) -> list[str]:
    options = ["--workers", "1", "--minutes", "30"]
    for setting in TINY:
        options += ["--set", setting]
        if second and not setting.startswith("encoder."):
            options += ["--second_set", setting]
    return options


def _commands(said: str) -> list[str]:
    return re.findall(r"^\$ (?:\S*/)?(sdpn [\w-]+|\w+\.sh)", said, flags=re.MULTILINE)


def test_the_configurations_are_those_of_base() -> None:
    from sdpn.training.build import build

    config = load_run_config(ROOT / "conf/base.yaml")
    network = build(config, None, None)
    assert sum(tensor.numel() for tensor in network.teacher.encoder.parameters()) <= 7_000_000
    assert config.features.hop_ms == 10.0 and config.features.level == "relative"
    assert config.features.floor == 1e-4 and config.sdpn.num_prototypes == 1024
    assert config.training.batch_size == 128
    second = load_run_config(ROOT / "conf/base_pseudo.yaml")
    assert second.objective == "pseudo" and not second.augmentation.speed_probability


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected DATA and OUT"),
        (["a", "b", "c"], "expected DATA and OUT"),
        (["no such folder", "out"], "no such folder: no such folder"),
        (["--minutes", "0", ".", "out"], "--minutes must be at least 1"),
        (["--minutes", "ten", ".", "out"], "--minutes needs a whole number"),
        (["--config", "none.yaml", ".", "out"], "no such file: none.yaml"),
        (["--benchmark", "none", ".", "out"], "no such folder: none"),
        (["--set", "a=b", "EMPTY", "OUT"], "there is no wav.scp"),
    ],
)
def test_what_is_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    places = {"EMPTY": str(tmp_path / "empty"), "OUT": str(tmp_path / "out")}
    said = _run(*(places.get(argument, argument) for argument in arguments), code=2)
    assert said.startswith("train_base.sh: error: ") and message in said and len(said.splitlines()) == 1


def test_one_stage_of_one_pack(packs: Path, tmp_path: Path) -> None:
    options = [*_tiny(second=False), "--steps", "3", "--second_steps", "0"]
    said = _run(*options, str(packs / "voices"), str(tmp_path / "out"))
    assert _commands(said) == ["sdpn train", "sdpn convert"]
    assert (tmp_path / "out/model/model.safetensors").is_file()
    assert main(["extract", "--model", str(tmp_path / "out/model"), "--data", str(packs / "voices"),
                 "--out", str(tmp_path / "embeddings"), "--quiet"]) == 0  # fmt: skip


@pytest.mark.slow
def test_both_stages_of_several_packs_stopped_and_continued(packs: Path, tmp_path: Path) -> None:
    options = [
        *_tiny(second=True),
        "--steps",
        "60",
        "--second_steps",
        "4",
        "--set",
        "training.checkpoint_every=5",
    ]
    whole = _run(*options, str(packs), str(tmp_path / "whole"))
    assert _commands(whole) == [
        "sdpn pack", "sdpn train", "run_pseudo.sh", "sdpn pseudo-label", "sdpn extract", "sdpn extract",
        "sdpn pseudo-label", "sdpn train", "sdpn convert",
    ]  # fmt: skip
    assert "augmentation.noise=" in whole and "augmentation.rir=" not in whole

    process = _start(*options, str(packs), str(tmp_path / "stopped"))
    until = time.monotonic() + 300
    while not list((tmp_path / "stopped/sdpn/checkpoints").glob("step-*")) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGUSR1)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 128 + signal.SIGUSR1 and "the same command continues" in said
    assert not (tmp_path / "stopped/sdpn/model").exists()
    _run(*options, str(packs), str(tmp_path / "stopped"))
    for name in ("sdpn/model", "pseudo/1/train/model", "model"):
        found = [(tmp_path / run / name / "model.safetensors").read_bytes() for run in ("whole", "stopped")]
        assert found[0] == found[1], name
    again = _run(*options, str(packs), str(tmp_path / "whole"))
    assert "sdpn convert" not in again and "up to date" in again


@pytest.mark.slow
def test_the_steps_are_those_that_fit(packs: Path, tmp_path: Path) -> None:
    """An eighth of 3 minutes and one are kept. On a machine that gets busier, time may be up before."""
    options = [*_tiny(second=False), "--minutes", "3", "--probe_steps", "40", "--second_steps", "0"]
    before = time.monotonic()
    process = _start(*options, "--set", "guards.window=0", str(packs), str(tmp_path / "out"))
    said, _ = process.communicate(timeout=300)
    assert time.monotonic() - before < 200
    (steps,) = re.findall(r"^first stage: (\d+) steps$", said, flags=re.MULTILINE)
    assert int(steps) >= 100 and f"training.steps={steps}" in said
    assert not (tmp_path / "out/probe").exists()
    if process.returncode != 128 + signal.SIGUSR1:
        assert process.returncode == 0 and (tmp_path / "out/model").is_dir(), said[-4000:]


@pytest.mark.slow
def test_it_stops_when_the_time_is_up(packs: Path, tmp_path: Path) -> None:
    options = [*_tiny(second=False), "--minutes", "1", "--steps", "1000000", "--set", "guards.window=0"]
    before = time.monotonic()
    said = _run(*options, str(packs / "voices"), str(tmp_path / "out"), code=128 + signal.SIGUSR1)
    assert 55 < time.monotonic() - before < 100
    assert said.rstrip().endswith("train_base.sh: stopped by SIGUSR1; the same command continues")
    assert list((tmp_path / "out/sdpn/checkpoints").glob("step-*"))


@pytest.mark.slow
def test_too_little_time_is_said(packs: Path, tmp_path: Path) -> None:
    options = [*_tiny(second=False), "--minutes", "1", "--probe_steps", "4"]
    said = _run(*options, str(packs / "voices"), str(tmp_path / "out"), code=2)
    assert "--minutes 1 are too few for 100 of them" in said.splitlines()[-1]
    assert not (tmp_path / "out/plan/first").exists()
