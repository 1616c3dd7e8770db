"""Plot of prototype drift: curves over checkpoints, and a heat map with a row per prototype."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdpn.io.atomic import atomic_path
from sdpn.tracking.drift_curves import DriftCurves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

#: Maximum number of checkpoint labels below the heat map; more would overlap.
_MOST_NAMES = 12


def plot_drift(path: str | os.PathLike[str], curves: DriftCurves, *, unit: str, title: str) -> None:
    """Plot drift, similarity and rank of prototypes; the suffix of ``path`` selects PNG, SVG or PDF.

    Args:
        path: the file.
        curves: of N checkpoints and K prototypes.
        unit: unit of the steps, "step" or "epoch".
        title: title of the plot, such as the verdict.

    Raises:
        InputError: the file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    figure.suptitle("\n".join(textwrap.wrap(title, 110)), fontsize=11, x=0.01, ha="left")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.15, 1])[0]
    panels = left.subplots(4, 1, sharex=True)
    steps = curves.steps
    first = f"{unit} {steps[0]}"
    _spread(panels[0], steps, curves.since_first_NK, f"drift to {first}", floor=0)
    _spread(panels[1], steps[1:], curves.since_previous_NK[1:], "drift to the\ncheckpoint before", floor=0)
    _spread(panels[2], steps, curves.nearest_cosine_NK, "cosine to the\nnearest prototype")
    panels[3].plot(steps, curves.effective_rank_N.tolist(), color="tab:blue", marker=".")
    panels[3].set_ylabel("effective rank")
    for axes in panels:
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        axes.margins(x=0.02)
        axes.yaxis.set_label_coords(-0.13, 0.5)
        axes.ticklabel_format(axis="y", useOffset=False)
    panels[0].legend(loc="best", fontsize=8, frameon=False)
    panels[3].set_xlabel(unit)
    panels[3].xaxis.get_major_locator().set_params(integer=True)
    _heat_map(right, curves, unit)
    # without a salt and with a date, the same numbers would give another SVG each time
    is_svg = os.fspath(path).endswith(".svg")
    with matplotlib.rc_context({"svg.hashsalt": "sdpn"}), atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, metadata={"Date": None} if is_svg else None)


def _spread(
    axes: Axes, steps: tuple[int, ...], values_NK: Tensor, label: str, floor: float | None = None
) -> None:
    """The mean over prototypes as a line; the middle 90 %, and the smallest and largest, as shades."""
    axes.set_ylabel(label)
    if not steps:
        axes.text(0.5, 0.5, "only one checkpoint", transform=axes.transAxes, ha="center", color="0.5")
        return
    low, high = values_NK.amin(1), values_NK.amax(1)
    inner = torch.quantile(values_NK, torch.tensor([0.05, 0.95], dtype=values_NK.dtype), dim=1)
    axes.fill_between(
        steps, low.tolist(), high.tolist(), color="tab:blue", alpha=0.15, lw=0, label="min to max"
    )
    axes.fill_between(
        steps, inner[0].tolist(), inner[1].tolist(), color="tab:blue", alpha=0.25, lw=0, label="middle 90 %"
    )
    axes.plot(steps, values_NK.mean(1).tolist(), color="tab:blue", marker=".", label="mean")
    if floor is not None:
        axes.set_ylim(bottom=floor)


def _heat_map(figure: SubFigure, curves: DriftCurves, unit: str) -> None:
    """Drift to the first checkpoint, a row for each prototype, those that moved most on top."""
    order_K = curves.since_first_NK[-1].argsort(descending=True)
    axes = figure.subplots()
    # the upper end is never 0, so that prototypes that stand still are drawn as 0 and not as noise
    drift_KN = curves.since_first_NK[:, order_K].T.cpu().numpy()
    image = axes.imshow(
        drift_KN,
        aspect="auto",
        interpolation="nearest",
        cmap="viridis",
        vmin=0,
        vmax=max(drift_KN.max(), 1e-6),
    )
    num = len(curves.steps)
    every = -(-num // _MOST_NAMES)
    axes.set_xticks(
        range(0, num, every), [str(step) for step in curves.steps[::every]], rotation=45 if num > 6 else 0
    )
    axes.set_xlabel(f"checkpoint ({unit})")
    axes.set_ylabel("prototypes, most moved on top")
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label(f"drift to {unit} {curves.steps[0]}")
