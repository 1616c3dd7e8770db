"""training.compile and training.tf32: the same training up to rounding, beside a plain loop."""

from __future__ import annotations

import importlib.util
import itertools
import shutil
from typing import Any

import pytest
import torch

from sdpn.config import load_config
from sdpn.data.crops import CropBatch
from sdpn.errors import InputError
from sdpn.training.build import build
from sdpn.training.compilation import (
    Compiled,
    compile_candidates,
    compiler_explained,
    fastest_compiled,
    pass_seconds,
)
from sdpn.training.config import RunConfig
from sdpn.training.distributed import Processes
from sdpn.training.step import Update
from sdpn.training.tf32 import tf32
from tests.conftest import TINY

_STEPS = 50
_LR, _MOMENTUM = 0.02, 0.99
#: The optimizer of conf/reference.yaml, and crops that take no time.
_PUBLISHED = [
    *TINY,
    *("optimizer.kind=sgd", "optimizer.clip=per-tensor", "optimizer.clip_norm=0.05"),
    *("optimizer.clip_prototypes=true", "optimizer.weight_decay=5e-5"),
    *("crops.global_s=0.25", "crops.local_s=0.125", "training.batch_size=4"),
]


def _batches() -> list[CropBatch]:
    generator = torch.Generator().manual_seed(1)
    return [
        CropBatch(
            0.1 * torch.randn(1, 4, 4000, generator=generator),
            0.1 * torch.randn(2, 4, 2000, generator=generator),
            torch.arange(4),
        )
        for _ in range(_STEPS)
    ]


def _update(*settings: str) -> tuple[Any, Update]:
    config = load_config(RunConfig, None, [*_PUBLISHED, *settings])
    torch.manual_seed(0)
    network = build(config).train()
    return network, Update(config, network, Processes(0, 1, torch.device("cpu")))


def _losses(*settings: str) -> tuple[list[float], list[str]]:
    network, update = _update(*settings)
    losses = [update(batch, lr=_LR, momentum=_MOMENTUM)[0].total.item() for batch in _batches()]
    return losses, list(network.state_dict())


@pytest.fixture(scope="module")
def plain_losses() -> list[float]:
    """Of a loop as one writes it first: tensor by tensor, clipped by values that the host reads."""
    config = load_config(RunConfig, None, _PUBLISHED)
    torch.manual_seed(0)
    network: Any = build(config).train()
    trained = {name: tensor for name, tensor in network.named_parameters() if tensor.requires_grad}
    kept = [tensor for name, tensor in trained.items() if tensor.ndim == 1 or name == "prototypes"]
    decayed = [tensor for name, tensor in trained.items() if tensor.ndim > 1 and name != "prototypes"]
    groups = [{"params": decayed, "weight_decay": 5e-5}, {"params": kept, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=_LR, momentum=0.9, foreach=False)
    losses, clipped = [], 0
    for batch in _batches():
        optimizer.zero_grad()
        terms = network(batch)
        terms.total.backward()
        for tensor in trained.values():
            assert tensor.grad is not None
            norm = tensor.grad.norm().item()
            if norm > 0.05:
                tensor.grad.mul_(0.05 / (norm + 1e-6))
                clipped += 1
        optimizer.step()
        with torch.no_grad():
            for average, tensor in zip(
                network.teacher.parameters(), network.student.parameters(), strict=True
            ):
                average.mul_(_MOMENTUM).add_(tensor.detach(), alpha=1 - _MOMENTUM)
        losses.append(terms.total.item())
    assert clipped > _STEPS and abs(losses[-1] - losses[0]) > 0.01
    return losses


@pytest.mark.parametrize("choice", ["none", "all"])
def test_the_losses_are_those_of_a_plain_loop(plain_losses: list[float], choice: str) -> None:
    """Fused clipping, optimizer and EMA. TF32 does nothing on a CPU."""
    losses, _ = _losses(f"training.tf32={choice}")
    assert losses == pytest.approx(plain_losses, rel=1e-3, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["kernels", "cuda-graphs", "auto"])
def test_compiled_losses_are_those_of_a_plain_loop(plain_losses: list[float], choice: str) -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("there is no C++ compiler, which torch.compile needs on a CPU")
    losses, names = _losses(f"training.compile={choice}")
    assert losses == pytest.approx(plain_losses, rel=1e-3, abs=1e-3)
    assert names == list(_update()[0].state_dict())


def test_auto_measures_what_the_device_can(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compile_candidates("kernels", "cpu", fixed_lengths=False) == ("kernels",)
    assert compile_candidates("auto", "cpu", fixed_lengths=True) == ("none", "kernels")
    monkeypatch.setattr("sdpn.training.compilation.find_spec", lambda _name: importlib.util.find_spec("json"))
    assert compile_candidates("auto", "cuda", fixed_lengths=True) == ("none", "kernels", "cuda-graphs")
    assert compile_candidates("auto", "cuda", fixed_lengths=False) == ("none",)
    assert compile_candidates("auto", "cuda", fixed_lengths=True, world=2) == ("none",)
    monkeypatch.setattr("sdpn.training.compilation.find_spec", lambda _name: None)
    assert compile_candidates("auto", "cuda", fixed_lengths=True) == ("none",)


def test_the_fastest_that_can_be_compiled_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    seconds: dict[Compiled, float] = {"none": 3.0, "kernels": 1.0, "cuda-graphs": 2.0}
    assert fastest_compiled(list(seconds), seconds.__getitem__) == "kernels"

    def no_compiler(candidate: Compiled) -> float:
        if candidate != "none":
            raise torch._dynamo.exc.InternalTorchDynamoError("no g++\nlong trace")
        return 1.0

    assert fastest_compiled(list(seconds), no_compiler) == "none"
    assert "training.compile=kernels is left out" in caplog.text and "no g++" in caplog.text
    with pytest.raises(InputError, match="no g"):
        fastest_compiled(["kernels"], no_compiler)


def test_passes_that_compile_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr("sdpn.training.compilation.time.perf_counter", lambda: float(next(clock)))
    runs = []
    assert pass_seconds(lambda: runs.append(len(runs)), torch.device("cpu")) == 1.0
    assert len(runs) == 6


def test_measuring_changes_nothing_and_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is resumed is compiled as it was, whatever a measurement would say then."""
    asked = []

    def measured(_run: Any, _device: torch.device) -> float:
        _run()
        asked.append(len(asked))
        return 1.0 / len(asked)  # the second is the fastest

    compiled: list[Compiled] = []
    monkeypatch.setattr("sdpn.training.step.pass_seconds", measured)
    monkeypatch.setattr("sdpn.training.step.compile_network", lambda _net, choice: compiled.append(choice))
    network, update = _update("training.compile=auto", "training.accumulate=2")
    other, plain = _update("training.accumulate=2")
    batch, next_batch, *_ = _batches()
    for run in (update, plain):
        run(batch, lr=_LR, momentum=_MOMENTUM)
    for name, tensor in network.state_dict().items():
        assert not torch.is_tensor(tensor) or torch.equal(tensor, other.state_dict()[name]), name
    assert len(asked) == 2 and compiled == ["none", "kernels", "kernels", "none"]
    assert update.state()["compile"] == "kernels" and "compile" not in plain.state()
    _, resumed = _update("training.compile=auto", "training.accumulate=2")
    resumed.check(update.state())
    resumed.restore(update.state())
    resumed(next_batch, lr=_LR, momentum=_MOMENTUM)
    assert len(asked) == 2 and compiled[-1] == "kernels" == resumed.state()["compile"]


def test_tf32_is_as_before_outside_of_the_step() -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    allowed = {"none": (False, False), "convolutions": (True, False), "all": (True, True)}
    for choice, expected in allowed.items():
        with tf32(choice):  # type: ignore[arg-type]
            assert (cudnn.allow_tf32, matmul.allow_tf32) == expected
        assert (cudnn.allow_tf32, matmul.allow_tf32) == before


def test_a_compiler_that_fails_is_one_line() -> None:
    with pytest.raises(InputError, match=r"cannot compile the network here \(no g\+\+\)") as caught:
        with compiler_explained():
            raise torch._dynamo.exc.InternalTorchDynamoError("no g++\nlong trace")
    assert caught.value.hint == "set training.compile=none"
    with pytest.raises(RuntimeError, match="another"):
        with compiler_explained():
            raise RuntimeError("another")
