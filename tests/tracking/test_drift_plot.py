"""The picture of drift: that it is one, of every kind and for every length of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sdpn.errors import InputError
from sdpn.tracking.drift_curves import DriftCurves, drift_curves
from sdpn.tracking.drift_plot import plot_drift


def curves_of(num_snapshots: int, num_prototypes: int = 12) -> DriftCurves:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(num_prototypes, 5, generator=generator)
    turn = torch.randn(num_prototypes, 5, generator=generator)
    return drift_curves([(10 * index, start + 0.1 * index * turn) for index in range(num_snapshots)])


@pytest.mark.parametrize("num_snapshots", [1, 2, 40])
def test_draws_runs_of_any_length(tmp_path: Path, num_snapshots: int) -> None:
    path = tmp_path / "drift.png"
    plot_drift(path, curves_of(num_snapshots), unit="epoch", title="A title " * 30)
    from matplotlib.image import imread

    picture = imread(path)
    assert picture.shape[0] > 900 and picture.shape[1] > 1500
    assert picture[..., :3].std() > 0.1  # something is on it


def test_prototypes_that_stand_still_are_drawn_dark(tmp_path: Path) -> None:
    same = torch.eye(4)
    path = tmp_path / "drift.png"
    plot_drift(path, drift_curves([(0, same), (5, same)]), unit="step", title="still")
    from matplotlib import colormaps
    from matplotlib.image import imread

    nothing = torch.tensor(colormaps["viridis"](0.0)[:3])
    is_nothing = (torch.tensor(imread(path)[..., :3]) - nothing).abs().amax(-1) < 0.01
    assert is_nothing.float().mean() > 0.2  # the whole heat map


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_other_kinds_and_the_same_twice(tmp_path: Path, kind: str) -> None:
    paths = [tmp_path / f"{name}.{kind}" for name in "ab"]
    for path in paths:
        plot_drift(path, curves_of(3), unit="step", title="twice")
    assert paths[0].read_bytes().startswith(b"<?xml" if kind == "svg" else b"%PDF")
    if kind == "svg":
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        plot_drift(tmp_path, curves_of(2), unit="step", title="x")
