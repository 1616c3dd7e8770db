"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sdpn.training.config import RunConfig

ROOT = Path(__file__).resolve().parent.parent

#: Overrides of a run that takes a second, for the command line as well.
TINY = [
    "encoder.channels=16",
    "encoder.aggregation_channels=24",
    "encoder.embedding_dim=12",
    "encoder.bottleneck=8",
    "encoder.dilations=[2, 3]",
    "head.hidden_dim=16",
    "head.projection_dim=8",
    "sdpn.num_prototypes=10",
    "dino.num_prototypes=10",
    "crops.global_s=1.0",
    "crops.local_s=0.5",
    "crops.num_local=2",
    "training.batch_size=4",
    "training.precision=fp32",
    "training.log_every=2",
    "training.watch_every=4",
    "optimizer.warmup_steps=2",
]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared corpora: ``$SDPN_SHARED_DATA``, or ``../shared/data`` beside the checkout."""
    folder = Path(os.environ.get("SDPN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the shared corpora are not here: {folder} (set SDPN_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def tiny_run() -> RunConfig:
    """Settings of a run that takes a second: real in every part, small in every size."""
    from sdpn.config import load_config
    from sdpn.training.config import RunConfig

    return load_config(RunConfig, None, TINY)
