"""Prototype curves of runs that left checkpoints but no TensorBoard log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from sdpn.errors import InputError
from sdpn.report.experiment import read_experiment
from sdpn.report.page import build_page
from sdpn.training.checkpoint import CheckpointStore

START = torch.eye(4, 3, dtype=torch.float64)
#: The first prototype has turned by 90°: 1 − cosine is 1 for one of four.
END = torch.tensor([[0.0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.float64)


def save_own(folder: Path, step: int) -> None:
    state = {"step": step, "model": {"prototypes": END}, "tracking": {"initial": START}}
    CheckpointStore(folder / "checkpoints", {}, keep=9).save(step, state)


def save_theirs(folder: Path) -> None:
    folder.mkdir(parents=True)
    for epoch, prototypes_KE in ((1, START), (11, END)):
        torch.save({"prototypes": prototypes_KE, "epoch": epoch}, folder / f"checkpoint{epoch - 1:04}.pth")


def test_own_checkpoints_draw_the_curves_that_training_would_log(tmp_path) -> None:
    save_own(tmp_path / "run", 40)
    experiment = read_experiment(tmp_path)
    assert list(experiment.runs) == ["run"]
    scalars = experiment.runs["run"].scalars
    assert scalars["prototypes/drift_initial_mean"] == {0: 0.0, 40: pytest.approx(0.25)}
    assert scalars["prototypes/drift_previous_max"] == {40: pytest.approx(1)}
    page = build_page(experiment)
    for tag in scalars:
        assert f"<span>{tag}</span>" in page
    assert "1 − cosine to the initial prototypes" in page


@pytest.mark.parametrize("below", ["", "models"])
def test_3d_speaker_folders_draw_theirs(tmp_path, below) -> None:
    save_theirs(tmp_path / "exp" / below)
    experiment = read_experiment(tmp_path / "exp")
    assert list(experiment.runs) == [below]
    assert experiment.runs[below].scalars["prototypes/drift_initial_mean"] == {1: 0, 11: pytest.approx(0.25)}


def test_what_was_logged_comes_first(tmp_path) -> None:
    from torch.utils.tensorboard.writer import SummaryWriter

    save_own(tmp_path, 40)
    with SummaryWriter(str(tmp_path / "tensorboard")) as writer:
        writer.add_scalar("prototypes/drift_initial_mean", 0.5, 7)
    assert read_experiment(tmp_path).runs[""].scalars == {"prototypes/drift_initial_mean": {7: 0.5}}


def test_checkpoints_that_cannot_be_used_are_named_and_no_more(tmp_path, caplog) -> None:
    save_own(tmp_path, 40)
    save_own(tmp_path, 80)
    (tmp_path / "checkpoints/step-00000080/state.pt").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert read_experiment(tmp_path).runs[""].scalars["prototypes/effective_rank"].keys() == {0, 40}
    assert "step-00000080/state.pt is damaged" in caplog.text
    (tmp_path / "checkpoints/step-00000040/state.pt").write_bytes(b"")
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(InputError, match="and no checkpoints with prototypes"),
    ):
        read_experiment(tmp_path)
    assert "cannot compute prototype curves from checkpoints: " in caplog.text


def test_other_pth_files_are_no_checkpoints(tmp_path) -> None:
    save_theirs(tmp_path / "exp")
    torch.save({"weights": 1}, tmp_path / "exp" / "vad.pth")
    (tmp_path / "pretrained").mkdir()
    torch.save({"weights": 1}, tmp_path / "pretrained" / "model.pth")
    assert list(read_experiment(tmp_path).runs) == ["exp"]
