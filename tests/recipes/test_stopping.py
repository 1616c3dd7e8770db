"""A recipe that is stopped saves first, and no other works on its experiment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, TINY, write_noise
from tests.recipes.running import RECIPES, run_recipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers of white noise."""
    folder = tmp_path_factory.mktemp("corpus")
    for speaker in ("a", "b"):
        write_noise(folder / speaker, 4)
        (folder / speaker / "wav.scp").unlink()
    return folder


def _start(corpus: Path, exp: Path) -> subprocess.Popen[str]:
    """Begin to train, without end, in a process group of its own, and wait for the first steps."""
    settings = [*TINY, "training.steps=1000000", "training.checkpoint_every=1000000", "training.workers=2"]
    options = [word for setting in settings for word in ("--set", setting)]
    command = ["bash", str(RECIPES / "run.sh"), "--corpus", str(corpus), "--exp", str(exp), "--nj", "1"]
    process = subprocess.Popen(
        [*command, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("step "):
            return process
    raise AssertionError("".join(seen))


def _checkpoints(exp: Path) -> list[Path]:
    return list((exp / "sdpn/checkpoints").glob("step-*"))


#: The frame of the recipes around one command, which is given.
_FRAME = f"""
set -euo pipefail
root={ROOT}
stage=0 stop_stage=9 force=false exp=exp jobs=1
source "$root/tools/recipe.sh"
begin_experiment .
show "$@"
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_and_names_what_continues(tmp_path: Path, number: signal.Signals) -> None:
    begin = ["bash", "-c", _FRAME, "frame.sh"]
    options: dict[str, Any] = {
        "cwd": tmp_path,
        "text": True,
        "env": {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    }
    process = subprocess.Popen(
        [*begin, "sh", "-c", "echo $$ >running; exec sleep 60"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        **options,
    )
    running = tmp_path / "running"
    deadline = time.monotonic() + 60
    while not (running.exists() and running.read_text().strip()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    refused = subprocess.run([*begin, "true"], capture_output=True, **options)
    assert refused.returncode == 2 and "another recipe is at work" in refused.stderr
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert error == f"frame.sh: stopped by {number.name}; the same command continues\n"
    assert not Path(f"/proc/{running.read_text().strip()}").exists()
    assert subprocess.run([*begin, "true"], **options).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("send", "number"),
    [(os.killpg, signal.SIGTERM), (os.kill, signal.SIGTERM), (os.killpg, signal.SIGINT)],
)
def test_a_signal_saves_first(
    corpus: Path, tmp_path: Path, send: Callable[[int, int], Any], number: signal.Signals
) -> None:
    process = _start(corpus, tmp_path / "exp")
    refused = run_recipe(
        "run.sh", "--corpus", str(corpus), "--exp", str(tmp_path / "exp"), timeout_s=60, code=2
    )
    assert refused.stderr.count("\n") == 1 and "another recipe is at work" in refused.stderr
    send(process.pid, number)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "Traceback" not in error
    ends = [line for line in error.splitlines() if "stopped by" in line]
    assert len(ends) == 2 and ends[0].startswith(f"sdpn train: stopped by {number.name} after step")
    assert ends[1] == f"run.sh: stopped by {number.name}; the same command continues"
    assert len(_checkpoints(tmp_path / "exp")) == 1


@pytest.mark.slow
def test_a_kill_lets_go_of_the_experiment(corpus: Path, tmp_path: Path) -> None:
    process = _start(corpus, tmp_path / "exp")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    trainings = _trainings(tmp_path / "exp")
    try:
        claim = ["--corpus", str(corpus), "--exp", str(tmp_path / "exp"), "--stage", "9"]
        run_recipe("run.sh", *claim, timeout_s=60)
    finally:
        for pid in trainings:
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 60
    while not _checkpoints(tmp_path / "exp"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _trainings(exp: Path) -> list[int]:
    """The training that a killed recipe leaves behind; its loader processes have it as their parent."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(exp / "sdpn").encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                found[int(entry.name)] = int(parent)
        except OSError:
            continue
    return [pid for pid, parent in found.items() if parent not in found]
