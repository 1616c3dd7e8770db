"""Twelve published networks, from waveform to embedding, against what their own code computes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sdpn

NETWORKS = [
    "3dspeaker_campplus",
    "3dspeaker_ecapa",
    "3dspeaker_eres2net",
    "3dspeaker_eres2netv2",
    "3dspeaker_resnet34",
    "3dspeaker_sdpn",
    "speechbrain_ecapa",
    "wespeaker_campplus",
    "wespeaker_ecapa1024",
    "wespeaker_ecapa512",
    "wespeaker_resnet101",
    "wespeaker_resnet34",
]


@pytest.fixture(scope="module")
def filler(shared_data: Path) -> Any:
    """The functions that the reference embeddings were made with."""
    spec = importlib.util.spec_from_file_location("fill_state_dict", shared_data / "fill_state_dict.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NETWORKS)
def test_the_embedding_is_that_of_the_networks_own_code(
    name: str, shared_data: Path, tmp_path: Path, filler: Any
) -> None:
    described = json.loads((shared_data / "parity" / f"{name}.json").read_text())
    prefix = described["key_prefix"]
    state: dict[str, Any] = {
        key: torch.from_numpy(np.asarray(filler.fill(key.removeprefix(prefix), shape, kind)))
        for key, (shape, kind) in described["keys"].items()
    }
    path, format = tmp_path / "weights.pt", name.partition("_")[0]
    if format == "wespeaker":
        path = tmp_path
        state["projection.weight"] = torch.zeros(10, 4)
        config = {"model": described["model"], "model_args": described["model_args"]}
        (tmp_path / "config.yaml").write_text(json.dumps(config))
        torch.save(state, tmp_path / "avg_model.pt")
    elif name == "3dspeaker_sdpn":
        # the scalars are numpy's, as 3D-Speaker stores them
        student = {key: torch.zeros_like(value) for key, value in state.items()}
        torch.save({"student": student, "teacher": state, "epoch": 3, "loss": np.float64(1.5)}, path)
    else:
        torch.save(state, path)
    embedding = sdpn.load_model(path, format).embed(filler.wave(), 16000).astype(np.float64)
    expected = np.load(shared_data / "parity" / f"{name}.npz")["embedding"].astype(np.float64)
    cosine = embedding @ expected / np.linalg.norm(embedding) / np.linalg.norm(expected)
    assert cosine >= 0.99999
    assert np.abs(embedding - expected).max() <= 1e-4 * np.abs(expected).max()


def test_all_networks_are_compared(shared_data: Path) -> None:
    assert {path.stem for path in (shared_data / "parity").glob("*.json")} == set(NETWORKS)
