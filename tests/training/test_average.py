"""The mean of checkpoints: by hand from the tensors on disk, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sdpn.cli.main import main
from sdpn.errors import InputError
from sdpn.models.folder import read_model
from sdpn.models.pretraining import read_pretraining
from sdpn.training.average import average_checkpoints
from tests.conftest import TINY


@pytest.fixture(scope="module")
def run(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps, each with a checkpoint; the last three are kept."""
    out = tmp_path_factory.mktemp("run") / "exp"
    settings = ["training.steps=4", "training.checkpoint_every=1", "training.keep_checkpoints=3"]
    words = ["train", "--data", str(voices), "--out", str(out), *TINY, *settings, "training.workers=0"]
    assert main([*words, "--quiet"]) == 0
    return out


def test_every_tensor_is_the_mean(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["average", str(run), "--checkpoints", "3", "--out", str(tmp_path / "mean")]) == 0
    assert "mean of 3 checkpoints, steps 2 to 4" in capsys.readouterr().out
    states = [
        torch.load(path / "state.pt", weights_only=True)["model"]
        for path in sorted((run / "checkpoints").glob("step-*"))
    ]
    assert len(states) == 3
    found = read_model(tmp_path / "mean")
    assert found.source == {"average_of_steps": "2, 3, 4"} and found.calibration == {}
    for key, value in found.encoder.state_dict().items():
        three = [state[f"teacher.encoder.{key}"].double().numpy() for state in states]
        expected = sum(three) / 3 if value.is_floating_point() else three[-1]
        np.testing.assert_allclose(value.double().numpy(), expected, rtol=1e-6, atol=1e-9)
    prototypes = read_pretraining(tmp_path / "mean").prototypes.double().numpy()
    np.testing.assert_allclose(
        prototypes, sum(state["prototypes"].double().numpy() for state in states) / 3, rtol=1e-6
    )
    assert np.abs(prototypes - states[-1]["prototypes"].numpy()).max() > 1e-5  # they moved


def test_one_checkpoint_is_the_model(run: Path) -> None:
    mean = average_checkpoints(run, 1)
    model = read_model(run / "model")
    for key, value in model.encoder.state_dict().items():
        assert torch.equal(value, mean.model.encoder.state_dict()[key])


def test_models_of_one_start(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["average", str(run), "--checkpoints", "3", "--out", str(tmp_path / "other")]) == 0
    given = [run / "model", tmp_path / "other"]
    assert main(["average", *map(str, given), "--out", str(tmp_path / "mean")]) == 0
    assert "mean of 2 models" in capsys.readouterr().out
    one, other, mean = (read_model(path).encoder.state_dict() for path in (*given, tmp_path / "mean"))
    assert any(not torch.equal(one[key], other[key]) for key in one)
    for key, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (one[key] + other[key]) / 2)
    heads = [read_pretraining(path) for path in (run / "model", tmp_path / "mean")]
    assert torch.equal(heads[0].prototypes, heads[1].prototypes)


def test_what_cannot_be_averaged(run: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"has 3 checkpoints, 4 are to be averaged \(train with training.keep_ch"
    ):
        average_checkpoints(run, 4)
    with pytest.raises(InputError, match="has 0 checkpoints, 1 are to be averaged"):
        average_checkpoints(tmp_path, 1)
    copy = tmp_path / "exp"
    shutil.copytree(run, copy)
    damaged = copy / "checkpoints/step-00000003/state.pt"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"step-00000003"):
        average_checkpoints(copy, 3)
