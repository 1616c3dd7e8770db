"""Checkpoints of runs, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sdpn.training.checkpoint import CheckpointStore

#: Settings that say how many rows a step has: 4 utterances with 2 global crops.
CONFIGURATION = {"training": {"batch_size": 4}, "crops": {"num_global": 2}}


@pytest.fixture
def save_own(tmp_path: Path) -> Callable[..., Path]:
    """Write a checkpoint of this project into ``tmp_path/exp/checkpoints``; returns its ``state.pt``."""

    def save(step: int, prototypes_KE: Tensor, **tracking: Any) -> Path:
        folder = tmp_path / "exp" / "checkpoints"
        state = {
            "step": step,
            "model": {"student.encoder.weight": torch.zeros(3), "prototypes": prototypes_KE},
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
            "rng": torch.get_rng_state(),
            "tracking": tracking,
        }
        CheckpointStore(folder, CONFIGURATION, keep=100).save(step, state)
        return folder / f"step-{step:08d}" / "state.pt"

    return save


@pytest.fixture
def save_theirs(tmp_path: Path) -> Callable[..., Path]:
    """Write a checkpoint as 3D-Speaker does, NumPy numbers included, below ``tmp_path/theirs``."""

    def save(name: str, epoch: int | None, prototypes_KE: Tensor | None, **changes: Any) -> Path:
        state: dict[str, Any] = {
            "student": {"module.backbone.weight": torch.zeros(2)},
            "teacher": {"module.backbone.weight": torch.zeros(2)},
            "optimizer": {
                "state": {0: {"momentum_buffer": torch.zeros(2)}},
                "param_groups": [{"lr": np.float64(0.3), "weight_decay": np.float32(5e-5), "params": [0]}],
            },
            "sdpn_loss": {},
        }
        if epoch is not None:
            state["epoch"] = epoch
        if prototypes_KE is not None:
            state["prototypes"] = prototypes_KE
        path = tmp_path / "theirs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state | changes, path)
        return path

    return save
