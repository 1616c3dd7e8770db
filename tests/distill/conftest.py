"""Small networks and batches for the objectives' tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from sdpn.data.crops import CropBatch
from sdpn.distill.base import SelfDistillation
from sdpn.training.build import build
from sdpn.training.config import RunConfig


@pytest.fixture
def make_network(tiny_run: RunConfig) -> Callable[..., Any]:
    """Build a small network; keywords change sections, such as ``sdpn={"queue_size": 8}``."""

    def make(objective: str = "sdpn", **sections: dict[str, Any]) -> SelfDistillation:
        torch.manual_seed(0)
        changed = {name: replace(getattr(tiny_run, name), **values) for name, values in sections.items()}
        return build(replace(tiny_run, objective=objective, **changed)).train()  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_batch() -> Callable[..., CropBatch]:
    """Random crops of 6 utterances."""

    def make(num_global: int = 1, num_local: int = 2, utterances: int = 6) -> CropBatch:
        generator = torch.Generator().manual_seed(3)
        return CropBatch(
            torch.randn(num_global, utterances, 8000, generator=generator) * 0.1,
            torch.randn(num_local, utterances, 4000, generator=generator) * 0.1,
            torch.arange(utterances),
        )

    return make
