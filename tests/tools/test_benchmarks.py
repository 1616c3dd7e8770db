"""Benchmarks of training run through on a small scale, and measure what they say.

Those that are for a GPU are tested as they are run there: the script alone, in an empty folder.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sdpn.cli.main import main
from sdpn.config import load_config
from sdpn.training.config import RunConfig, TrainingConfig
from tests.conftest import ROOT
from tests.training.torchrun import one_core

BENCHMARKS = ROOT / "tools/benchmarks"


def _run(*command: str, folder: Path = BENCHMARKS) -> str:
    script = folder / command[0]
    if not script.exists():
        shutil.copy(BENCHMARKS / command[0], script)
    done = subprocess.run(
        [sys.executable, str(script), *command[1:]],
        env=one_core({}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _columns(table: str, name: str) -> list[str]:
    (row,) = (line for line in table.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_step_is_that_of_the_published_configuration() -> None:
    """The script repeats what conf/reference.yaml says of a step, so that it can be run without it."""
    spec = importlib.util.spec_from_file_location("train_step", BENCHMARKS / "train_step.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def of_a_step(config: RunConfig) -> RunConfig:
        """Without length of the run, schedules, crops' augmentation, and what the arguments choose."""
        optimizer = replace(config.optimizer, lr=0.1, final_lr=0.0, warmup_steps=0)
        teacher = replace(config.teacher, momentum=0.99, final_momentum=1.0)
        augmentation = RunConfig().augmentation
        crops = replace(config.crops, global_s=4.0, local_s=2.0)
        changed = {"optimizer": optimizer, "teacher": teacher, "augmentation": augmentation, "crops": crops}
        return replace(config, training=TrainingConfig(), **changed)

    published = load_config(RunConfig, ROOT / "conf/reference.yaml", [])
    assert of_a_step(load_config(RunConfig, None, module.PUBLISHED)) == of_a_step(published)


@pytest.mark.slow
def test_a_million(tmp_path: Path) -> None:
    kinds = ["--kind", "pack", "--kind", "segments", "--kind", "index"]
    said = _run("million.py", "--utterances", "3000", *kinds, folder=tmp_path)
    assert said.startswith("no GPU; ") and ", sdpn " in said
    for kind in ("pack", "segments", "index"):
        assert float(_columns(said, kind)[1]) < 30


#: A checkout of 3D-Speaker as far as `reference_step` needs it, with the names and results of its modules.
_REFERENCE = {
    "models/rdino/ECAPA_TDNN": """
import torch
class ECAPA_TDNN(torch.nn.Module):
    def __init__(self, input_size, channels, lin_neurons):
        super().__init__()
        self.n_mels, (first, *_, last) = input_size, channels
        self.layers = torch.nn.Sequential(
            torch.nn.Conv1d(input_size, first, 5), torch.nn.ReLU(), torch.nn.Conv1d(first, last, 1)
        )
        self.last = torch.nn.Linear(last, lin_neurons)
    def forward(self, x):
        return self.last(self.layers((x + 1e-6).log()).mean(-1))
""",
    "models/sdpn/SDPN_Head": """
import torch
class SDPNHead(torch.nn.Sequential):
    def __init__(self, in_dim, use_bn):
        assert use_bn
        super().__init__(torch.nn.Linear(in_dim, 256))
""",
    "models/sdpn/combiner": """
import torch
class Combiner(torch.nn.Module):
    def __init__(self, backbone, head):
        super().__init__()
        self.backbone, self.head = backbone, head
    def forward(self, x):
        x = self.backbone(x)
        return x, self.head(x)
""",
    "loss/sdpn_loss": """
import torch
class SDPNLoss(torch.nn.Module):
    def forward(self, anchor_views, target_views, prototypes, proto_labels):
        probs = (anchor_views @ prototypes.T).softmax(1) @ proto_labels
        targets = (target_views @ prototypes.T).softmax(1).repeat(4, 1)
        return -(targets * probs.log()).sum(1).mean(), probs.mean(0).square().sum(), {}, targets
""",
    "loss/keleo_loss": """
import torch
class KoLeoLoss(torch.nn.Module):
    def forward(self, student_output):
        return student_output.square().mean()
""",
    "utils/utils_rdino": """
import torch
def one_hot(targets, num_classes):
    return torch.nn.functional.one_hot(targets, num_classes).float()
def get_params_groups(model):
    return [{"params": list(model.parameters())}]
def clip_gradients(model, clip):
    return [tensor.grad.norm(2).item() for tensor in model.parameters()]
""",
}


@pytest.mark.slow
def test_a_training_step(tmp_path: Path) -> None:
    for name, text in _REFERENCE.items():
        path = tmp_path / f"speakerlab/{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    small = ["--channels", "16", "--batch", "4", "--global-s", "0.5", "--local-s", "0.25"]
    given = [*small, "--turns", "1", "--steps", "1", "--device", "cpu"]
    said = _run("train_step.py", *given, "--reference", str(tmp_path))
    reference, plain, ours = (
        _columns(said, name) for name in ("reference, as published", "plain, as published", "sdpn, fp32")
    )
    assert reference[3] == "1.00"
    assert int(reference[6]) > 10 and int(plain[6]) > 50 and int(ours[6]) == 0  # values that the host reads
    assert int(ours[5]) < int(plain[5])
    assert all(0 < float(row[4]) < 4000 for row in (reference, plain, ours))
    assert "arithmetic of a step:" in said


@pytest.mark.slow
def test_a_step_beside_a_setting(tmp_path: Path) -> None:
    small = ["--channels", "16", "--batch", "4", "--global-s", "0.5", "--local-s", "0.25"]
    given = [*small, "--turns", "1", "--steps", "1", "--device", "cpu", "--also", "training.tf32=all"]
    said = _run("train_step.py", *given, folder=tmp_path)
    assert said.startswith("no GPU; ") and "torch " in said and ", sdpn " in said
    assert _columns(said, "plain, as published")[3] == "1.00"
    for name in ("sdpn, bf16", "sdpn, fp32, training.tf32=all"):
        assert float(_columns(said, name)[3]) > 0


@pytest.mark.slow
def test_waiting_for_the_loader(voices: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    assert main(["pack", "--data", str(voices), "--out", str(packed), "--quiet"]) == 0
    small = ["--channels", "16", "--batch", "4", "--steps", "2", "--workers", "0,1", "--device", "cpu"]
    short = ["crops.global_s=0.5", "crops.local_s=0.25"]
    said = _run("loader_wait.py", "--data", str(packed), *small, *short, folder=tmp_path)
    assert said.startswith("no GPU; ") and "torch " in said and ", sdpn " in said
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in said.splitlines()[-4:]]
    assert [row[:2] for row in rows] == [["loader", "0"], ["loader", "1"], ["device", "0"], ["device", "1"]]
    for row in rows:
        assert float(row[2]) > 0 and float(row[3]) > 0 and 0 <= float(row[4]) <= 100


@pytest.mark.slow
def test_a_step_without_the_reference(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools/benchmarks/train_step.py"), "--reference", str(tmp_path)]
    done = subprocess.run(command, env=one_core({}), capture_output=True, text=True)
    assert done.returncode == 2
    assert f"{tmp_path}: is no checkout of 3D-Speaker" in done.stderr and "git clone" in done.stderr


@pytest.mark.slow
def test_diarization_on_a_device(shared_data: Path, tmp_path: Path) -> None:
    meeting = next((shared_data / "ami_excerpt").rglob("*.flac"))
    given = [str(meeting), "--hours", "0.02", "--recordings", "2", "--device", "cpu"]
    said = _run("gpu_diarize.py", *given, folder=tmp_path)
    assert "no GPU" in said
    for count in ("1", "2"):
        row = _columns(said, count)
        assert row[2] == f"{0.02 * int(count):.2f}" and float(row[3]) > 0
    assert int(_columns(said, "to the device")[1]) >= int(_columns(said, "batches")[1]) > 0
    assert int(_columns(said, "back")[1]) > 0


@pytest.mark.slow
def test_counting(shared_data: Path, tmp_path: Path) -> None:
    corpora = [f"--corpus={name}={shared_data / name / 'dev'}" for name in ("speechocean762", "commonvoice")]
    sounds = ["--sounds", str(shared_data), "--held-out"]
    _run("counting.py", "simulate", "--out", str(tmp_path), *corpora, *sounds, "--kind", "meetings")
    of = ["--out", str(tmp_path), "--name", "fast"]
    _run("counting.py", "embed", *of)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "embedded/fast").iterdir()}
    assert len(kept) == 2 * 16
    first = min(kept)
    first.unlink()
    _run("counting.py", "embed", *of)  # goes on with what is missing
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "embedded/fast").iterdir()}
    assert {path for path in kept if again[path] != kept[path]} == {first}
    row = _columns(_run("counting.py", "table", *of, "--method", "merging"), "meetings")
    assert row[:3] == ["meetings", "merging", "32"]
    assert 0 < int(row[3]) <= 100 and -2 < float(row[4]) < 2
    assert "PAIR_ODDS: " in _run("counting.py", "fit", *of)
    alone = ["--kind", "alone", "--seed", "1"]
    _run("counting.py", "simulate", "--out", str(tmp_path), *corpora, *sounds, *alone)
    _run("counting.py", "embed", *of)
    said = _run("counting.py", "voice", *of)
    assert "WEIGHTS: constant " in said
    assert "fast, alone (" in said
