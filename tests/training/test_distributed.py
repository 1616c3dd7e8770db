"""Two gloo processes: the run of one process on the same batches, its prototypes identical on both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sdpn.training.distributed import loader_workers
from tests.conftest import POSITIVES, TINY
from tests.training.torchrun import one_core, torchrun

#: What each process does: three updates on its half of a fixed batch; batch norm in evaluation mode where its
#: statistics would be those of the process. Writes gradients and state.
_WORKER = """
import sys
from dataclasses import replace
import torch
from sdpn.config import load_config
from sdpn.data.crops import CropBatch
from sdpn.distill.labels import Labels
from sdpn.training.config import RunConfig
from sdpn.training.distributed import process_group
from sdpn.training.build import build
from sdpn.training.step import Update

out, objective, accumulate, *settings = sys.argv[1:]
kind = "supervised" if objective in ("semi", "gradual") else objective
run = load_config(RunConfig, None, [*settings, f"objective={kind}", f"training.accumulate={accumulate}"])
generator = torch.Generator().manual_seed(1)
whole = CropBatch(
    torch.randn(1, 8, 8000, generator=generator) * 0.1,
    torch.randn(2, 8, 4000, generator=generator) * 0.1,
    torch.arange(8),
)
with process_group("cpu", 10.0) as processes:
    torch.manual_seed(processes.rank)  # different weights: DDP has to make them equal
    if processes.world == 1:
        torch.manual_seed(0)
    labels = Labels(torch.arange(8) % 3, 3) if kind == "supervised" else None
    if objective == "semi":  # each process has two labelled utterances and two without
        labels = Labels(torch.tensor([0, -1, 1, -1, -1, 2, 1, -1]), 3)
    network = build(run, labels)
    if "training.sync_batch_norm=false" in settings:
        network.eval()
    else:  # batch norm over a few rows enlarges rounding: in double precision
        network.double().train()
        network.features.register_forward_hook(lambda module, given, features: features.double())
    update = Update(run, network, processes)
    share = 8 // processes.world
    rows = slice(processes.rank * share, (processes.rank + 1) * share)
    for step in range(3):
        terms, norms = update(whole.rows(rows), lr=0.05, momentum=0.9, step=step)
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    state = {"model": network.state_dict(), "gradients": gradients, "total": terms.total.detach()}
    torch.save(state, f"{out}/{processes.world}-{processes.rank}.pt")
"""


@pytest.mark.parametrize(
    ("objective", "accumulate", "synchronise"),
    [
        pytest.param("sdpn", 1, "true", marks=pytest.mark.slow),
        # whose parts come one by one, as without them: batch norm is of the parts
        pytest.param("sdpn", 2, "false", marks=pytest.mark.slow),
        pytest.param("dino", 1, "true", marks=pytest.mark.slow),
        pytest.param("supervised", 1, "true", marks=pytest.mark.slow),  # semi is both
        pytest.param("supervised", 2, "false", marks=pytest.mark.slow),
        ("semi", 1, "true"),
        # every step trains one more part, so that DDP wraps the network anew
        pytest.param("gradual", 1, "false", marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_as_one(
    tmp_path: Path, objective: str, accumulate: int, synchronise: str
) -> None:
    script = tmp_path / "worker.py"
    script.write_text(_WORKER)
    settings = [*TINY, "optimizer.kind=sgd", "sdpn.queue_size=12", "training.batch_size=8", *POSITIVES]
    if objective == "gradual":
        settings += ["initial.model=given", "layers.trained=gradual", "layers.unfreeze_every=1"]
        settings += ["layers.batch_norm=kept", "layers.decay=0.5", "layers.toward_start=0.1"]
    settings.append(f"training.sync_batch_norm={synchronise}")
    arguments = [str(script), str(tmp_path), objective, str(accumulate), *settings]
    alone = subprocess.run(
        [sys.executable, *arguments],
        env=one_core({}),
        capture_output=True,
        text=True,
    )
    assert alone.returncode == 0, alone.stderr
    pair = torchrun(2, *arguments)
    assert pair.returncode == 0, pair.stderr
    one, first, second = (
        torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1")
    )
    assert torch.equal(first["model"]["prototypes"], second["model"]["prototypes"])
    assert torch.equal(first["gradients"]["prototypes"], second["gradients"]["prototypes"])
    torch.testing.assert_close(first["total"], one["total"], rtol=1e-4, atol=0)
    # averaged like every other gradient: prototypes and network alike are those of the whole batch
    assert "prototypes" in one["gradients"] and first["gradients"].keys() == one["gradients"].keys()
    for part in ("gradients", "model"):
        for name, value in one[part].items():
            if torch.is_tensor(value):
                for other in (first, second):
                    torch.testing.assert_close(other[part][name], value, rtol=1e-4, atol=2e-5)


#: 20 updates in double precision, in training mode: prints the losses of rank 0.
_LOSSES_WORKER = """
import json, sys
import torch
from sdpn.config import load_config
from sdpn.data.crops import CropBatch
from sdpn.training.config import RunConfig
from sdpn.training.distributed import process_group
from sdpn.training.build import build
from sdpn.training.step import Update

run = load_config(RunConfig, None, sys.argv[1:])
generator = torch.Generator().manual_seed(1)
with process_group("cpu", 10.0) as processes:
    torch.manual_seed(0)
    network = build(run).double().train()
    network.features.register_forward_hook(lambda module, given, features: features.double())
    update = Update(run, network, processes)
    share = 8 // processes.world
    rows = slice(processes.rank * share, (processes.rank + 1) * share)
    losses = []
    for _ in range(20):
        whole = CropBatch(
            torch.randn(1, 8, 8000, generator=generator, dtype=torch.float64) * 0.1,
            torch.randn(2, 8, 4000, generator=generator, dtype=torch.float64) * 0.1,
            torch.arange(8),
        )
        terms, _ = update(whole.rows(rows), lr=0.01, momentum=0.9)
        assert terms.total.dtype == torch.float64
        losses.append(float(terms.total.detach()))
    if processes.first:
        print(json.dumps(losses), flush=True)
"""


@pytest.mark.slow
def test_losses_of_one_and_two_processes_agree(tmp_path: Path) -> None:
    """With batch norm as in training: with statistics of each process they would differ at once."""
    script = tmp_path / "worker.py"
    script.write_text(_LOSSES_WORKER)
    command = [str(script), *TINY, "sdpn.queue_size=12", "training.batch_size=8"]
    alone = subprocess.run(
        [sys.executable, *command], env=one_core({}), capture_output=True, text=True, check=True
    )
    pair = torchrun(2, *command)
    assert pair.returncode == 0, pair.stderr
    one, two = (torch.tensor(json.loads(done.stdout), dtype=torch.float64) for done in (alone, pair))
    assert len(one) == 20 and one.std() > 1e-3
    torch.testing.assert_close(two, one, rtol=0, atol=1e-5)


#: Three updates with the norms of training, by ours and by DDP as it comes; asserts that nothing differs.
_BUFFERS_WORKER = """
import sys
import torch
from torch.nn.parallel import DistributedDataParallel
from sdpn.config import load_config
from sdpn.data.crops import CropBatch
from sdpn.distill.base import batch_norms
from sdpn.training import step
from sdpn.training.config import RunConfig
from sdpn.training.distributed import process_group
from sdpn.training.build import build

run = load_config(RunConfig, None, sys.argv[1:])
states, sent = [], []
with process_group("cpu", 10.0) as processes:
    for wrap in (step._distributed, lambda network, synchronised: DistributedDataParallel(network)):
        step._distributed = wrap
        torch.manual_seed(processes.rank)
        network = build(run).train()
        update = step.Update(run, network, processes)
        generator = torch.Generator().manual_seed(1)
        for _ in range(3):
            whole = CropBatch(
                torch.randn(1, 8, 8000, generator=generator) * 0.1,
                torch.randn(2, 8, 4000, generator=generator) * 0.1,
                torch.arange(8),
            )
            update(whole.rows(slice(4 * processes.rank, 4 * processes.rank + 4)), lr=0.05, momentum=0.9)
        states.append(network.state_dict())
        sent.append({id(buffer) for buffer in update._wrapped.modules_buffers})
        norms = {id(buffer) for norm in batch_norms(network) for buffer in norm.buffers()}
        assert norms and (sent[-1] == norms) == (len(states) == 1), "what is sent"
        averages = torch.cat([norm.running_mean for norm in batch_norms(network.student)])
        both = processes.gather(averages)
        assert not torch.equal(*both), "the last update was each process's own"
    assert states[0].keys() == states[1].keys()
    tensors = [name for name, value in states[0].items() if torch.is_tensor(value)]
    different = [name for name in tensors if not torch.equal(states[0][name], states[1][name])]
    assert not different, different
    queues = processes.gather([value for name, value in network.named_buffers() if "rows_QE" in name])
    assert queues[0] and all(torch.equal(*pair) for pair in zip(*queues, strict=True))
    print("nothing differs", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", ["own", "student"])
def test_buffers_that_all_processes_have_need_not_be_sent(tmp_path: Path, batch_norm: str) -> None:
    script = tmp_path / "worker.py"
    script.write_text(_BUFFERS_WORKER)
    settings = ["sdpn.queue_size=12", "training.batch_size=8", f"teacher.batch_norm={batch_norm}"]
    settings.append("training.sync_batch_norm=false")
    done = torchrun(2, str(script), *TINY, *settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nothing differs") == 2


def _train(out: Path, data: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    command = ["-m", "sdpn.cli.main", "train", "--data", str(data), "--out", str(out), *TINY]
    return torchrun(2, *command, "training.steps=6", "training.workers=0", *settings)


@pytest.mark.slow
def test_sdpn_train_under_torchrun_writes_one_run_and_continues_it(voices: Path, tmp_path: Path) -> None:
    out = tmp_path / "exp"
    result = _train(out, voices, "training.checkpoint_every=3")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("model:") == 1 and result.stderr.count("step 6/6") == 1
    final = out / "checkpoints/step-00000006/state.pt"
    state = torch.load(final, weights_only=True)
    expected = state["model"]["prototypes"]
    streams = [stream["cpu"] for stream in state["rng"]]  # an encoder's dropout differs between processes
    assert len(streams) == 2 and not torch.equal(*streams)
    for path in final.parent.iterdir():
        path.unlink()
    final.parent.rmdir()
    again = _train(out, voices, "training.checkpoint_every=3")
    assert again.returncode == 0 and "resuming at step 3" in again.stderr, again.stderr
    # sums over processes are taken in another order than on one: equal to rounding, on one machine to the bit
    assert torch.equal(torch.load(final, weights_only=True)["model"]["prototypes"], expected)


@pytest.mark.slow
def test_a_broken_loss_stops_all_processes(voices: Path, tmp_path: Path) -> None:
    """The fault is planted in one process only; without agreement the other one would wait for ever."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import math, os, sys\n"
        "from sdpn.cli.main import main\n"
        "from sdpn.training import pretrain\n"
        "build = pretrain.build\n"
        "def broken(*arguments, **options):\n"
        "    network = build(*arguments, **options)\n"
        "    if os.environ['RANK'] == '1':\n"
        "        network.student.head.register_forward_hook(lambda m, i, output: output * math.nan)\n"
        "    return network\n"
        "pretrain.build = broken\n"
        "code = main(sys.argv[1:])\n"
        "print(f'rank {os.environ[\"RANK\"]} ended with {code}', file=sys.stderr, flush=True)\n"
        "sys.exit(code)\n"
    )
    arguments = ["train", "--data", str(voices), "--out", str(tmp_path / "exp"), *TINY, "training.steps=6"]
    result = torchrun(2, str(script), *arguments, "training.workers=0")
    assert result.returncode != 0
    assert "the loss is NaN or infinite" in result.stderr
    assert not (tmp_path / "exp/checkpoints").exists()


@pytest.mark.slow
def test_a_batch_that_two_processes_cannot_share(voices: Path, tmp_path: Path) -> None:
    result = _train(tmp_path / "exp", voices, "training.batch_size=5")
    assert "training.batch_size (5) cannot be split over 2 processes" in result.stderr


@pytest.mark.slow
def test_processes_that_cannot_find_each_other(voices: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "WORLD_SIZE": "2", "RANK": "0"}
    environment.pop("MASTER_ADDR", None)
    command = [
        sys.executable,
        "-m",
        "sdpn.cli.main",
        "train",
        "--data",
        str(voices),
        "--out",
        str(tmp_path / "e"),
    ]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 2 and "start them with torchrun" in result.stderr, result.stderr
    assert "Traceback" not in result.stderr


def test_loader_processes_of_auto_share_the_cores_of_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdpn.training.distributed.usable_cores", lambda: 16)
    assert loader_workers(3) == 3 and loader_workers("auto") == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert loader_workers("auto") == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert loader_workers("auto") == 1
