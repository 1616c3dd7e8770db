"""training.compile: the same training up to rounding, on a network whose parameters keep their names."""

from __future__ import annotations

import importlib.util
import shutil

import pytest
import torch

from sdpn.config import load_config
from sdpn.data.crops import CropBatch
from sdpn.errors import InputError
from sdpn.training.build import build
from sdpn.training.compilation import compiler_explained, resolve_compile
from sdpn.training.config import RunConfig
from sdpn.training.distributed import Processes
from sdpn.training.step import Update
from tests.conftest import TINY


def test_auto_is_for_gpus_with_crops_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_compile("auto", "cpu", fixed_lengths=True) == "none"
    assert resolve_compile("kernels", "cpu", fixed_lengths=False) == "kernels"
    monkeypatch.setattr("sdpn.training.compilation.find_spec", lambda _name: importlib.util.find_spec("json"))
    assert resolve_compile("auto", "cuda", fixed_lengths=True) == "kernels"
    assert resolve_compile("auto", "cuda", fixed_lengths=False) == "none"
    monkeypatch.setattr("sdpn.training.compilation.find_spec", lambda _name: None)
    assert resolve_compile("auto", "cuda", fixed_lengths=True) == "none"


def test_a_compiler_that_fails_is_one_line() -> None:
    with pytest.raises(InputError, match=r"cannot compile the network here \(no g\+\+\)") as caught:
        with compiler_explained():
            raise torch._dynamo.exc.InternalTorchDynamoError("no g++\nlong trace")
    assert caught.value.hint == "set training.compile=none"
    with pytest.raises(RuntimeError, match="another"):
        with compiler_explained():
            raise RuntimeError("another")


@pytest.mark.slow
def test_the_losses_are_those_without() -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("there is no C++ compiler, which torch.compile needs on a CPU")
    losses, names = [], []
    for choice in ("none", "kernels"):
        config = load_config(RunConfig, None, [*TINY, f"training.compile={choice}"])
        torch.manual_seed(0)
        network = build(config).train()
        update = Update(config, network, Processes(0, 1, torch.device("cpu")))
        generator = torch.Generator().manual_seed(1)
        found = []
        for _ in range(10):
            batch = CropBatch(
                0.1 * torch.randn(1, 4, 16000, generator=generator),
                0.1 * torch.randn(2, 4, 8000, generator=generator),
                torch.arange(4),
            )
            found.append(float(update(batch, lr=1e-3, momentum=0.99)[0].total))
        losses.append(found)
        names.append(list(network.state_dict()))
    assert names[0] == names[1]
    torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), rtol=1e-3, atol=1e-3)
