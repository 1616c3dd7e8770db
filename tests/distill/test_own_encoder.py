"""Objectives on modules of strangers: docs/own_encoder.md as it stands, and what is refused."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sdpn
from sdpn.data.crops import CropBatch
from sdpn.distill.base import Branch
from sdpn.distill.dino import DINO
from sdpn.distill.distillation import Distill
from sdpn.distill.labels import Labels
from sdpn.distill.pseudo import Pseudo
from sdpn.distill.sdpn import SDPNConfig
from sdpn.distill.supervised import Supervised
from sdpn.distill.targets import Targets
from tests.conftest import ROOT


def test_the_page_runs_as_it_stands(voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "speech").symlink_to(voices)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/own_encoder.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    torch.manual_seed(0)
    names: dict[str, Any] = {"__name__": "own_encoder"}
    exec(blocks[0], names)
    network, fresh = names["network"], names["MyEncoder"]()
    assert names["embeddings"].shape == (24, 64) and names["embeddings"].isfinite().all()
    assert 0 < names["terms"].terms["ce"] < torch.tensor(32.0).log()  # below that of knowing nothing
    drift = (network.student.encoder.out.weight - network.teacher.encoder.out.weight).abs().max()
    assert drift > 0 and network.student.encoder.out.weight.shape == fresh.out.weight.shape
    assert network.prototypes.grad is not None and network.prototypes.grad.abs().sum() > 0
    exec(blocks[1], names)
    assert names["loss"].ndim == 0 and names["loss"].isfinite()


class _Mean(nn.Module):
    """An encoder that knows nothing of registries: the mean frame, mapped."""

    def __init__(self, size: int = 6) -> None:
        super().__init__()
        self.map = nn.Linear(5, size)

    def forward(self, features: Tensor) -> Tensor:
        mapped: Tensor = self.map(features.mean(-1))
        return mapped


def _batch() -> CropBatch:
    """Features (80-odd dimensions are 5 here) instead of waveforms, of 8 utterances."""
    generator = torch.Generator().manual_seed(0)
    crops = torch.randn(1, 8, 5, 40, generator=generator)
    views = torch.randn(2, 8, 5, 20, generator=generator)
    return CropBatch(crops, views, torch.arange(8), None, torch.ones(8))


@pytest.mark.parametrize("objective", ["sdpn", "dino", "pseudo", "distill", "supervised"])
def test_every_objective_trains_any_module_on_features(objective: str) -> None:
    torch.manual_seed(0)
    student = Branch(_Mean(), projection_dim=6)
    targets = Targets(torch.randn(1, 8, 6), (1.0,), "somebody", None)
    network = {
        "sdpn": lambda: sdpn.SDPN(student, copy.deepcopy(student), 4),
        "dino": lambda: DINO(student, None, 4),
        "pseudo": lambda: Pseudo(student, None, Labels(torch.arange(8) % 4, 4)),
        "distill": lambda: Distill(student, None, targets),
        "supervised": lambda: Supervised(student, None, Labels(torch.arange(8) % 4, 4)),
    }[objective]()
    assert set(dict(network.named_parameters())) >= {"student.encoder.map.weight", "prototypes"}
    assert not any(parameter.requires_grad for parameter in network.teacher.parameters())
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.5)
    losses = []
    for _ in range(20):
        terms = network.train()(_batch())
        optimizer.zero_grad()
        terms.total.backward()
        before = network.teacher.encoder.map.weight.clone()
        optimizer.step()
        network.after_step(0.5, terms)
        middle = (before + network.student.encoder.map.weight) / 2
        torch.testing.assert_close(network.teacher.encoder.map.weight, middle)
        losses.append(float(terms.total.detach()))
    assert min(losses[1:]) < losses[0]


def test_the_number_of_prototypes_is_the_argument() -> None:
    network = sdpn.SDPN(Branch(_Mean(), projection_dim=6), None, 7, config=SDPNConfig(queue_size=16))
    assert network.prototypes.shape == (7, 6) and network.config.num_prototypes == 7
    assert network.config.queue_size == 16


def test_mismatches_are_reported() -> None:
    with pytest.raises(
        ValueError, match=r"_Mean has no attribute with the size of its output.* projection_dim"
    ):
        sdpn.SDPN(_Mean(), None, 4)
    student = Branch(_Mean(), projection_dim=6)
    with pytest.raises(ValueError, match="parameters and buffers of the student"):
        sdpn.SDPN(student, Branch(_Mean(7), projection_dim=7), 4)
    with pytest.raises(ValueError, match="must be separate modules"):
        sdpn.SDPN(student, student, 4)
    with pytest.raises(ValueError, match="projects to 6 dimensions, the teacher embeds in 9"):
        Distill(student, None, Targets(torch.randn(1, 8, 9), (1.0,), "somebody", None))
