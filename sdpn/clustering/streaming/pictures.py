"""The picture of a clustering: how it got there, how large its clusters are, what they look like."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from sdpn.clustering.streaming.fit import Fit
from sdpn.clustering.streaming.model import KMeansModel
from sdpn.clustering.streaming.quality import Quality
from sdpn.io.atomic import atomic_path

#: Clusters whose rows have a colour of their own; more could not be told apart.
_COLOURED = 10


def plot_quality(
    path: str | os.PathLike[str], model: KMeansModel, quality: Quality, fit: Fit | None = None
) -> None:
    """Draw three panels; the suffix of ``path`` chooses PNG, SVG or PDF.

    Inertia over the rows that have passed (with ``fit``), the sizes of the clusters in descending order, and
    the sample on its two principal components with the centres, the ten largest clusters in colours.

    Raises:
        InputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(figure)
    history, sizes, sample = figure.subplots(1, 3)
    _draw_history(history, fit)
    _draw_sizes(sizes, quality)
    _draw_sample(sample, model, quality)
    for axes in (history, sizes, sample):
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _draw_history(axes: Any, fit: Fit | None) -> None:
    axes.set_title("inertia of a row", fontsize=10, loc="left")
    if fit is None or not len(fit.history_T2):
        axes.text(0.5, 0.5, "no mini-batches in this run", ha="center", va="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return
    axes.plot(*fit.history_T2.T, color="#3b6fb6", linewidth=1.5, label="batches, smoothed")
    ends = np.arange(1, len(fit.held_out) + 1) * fit.num_rows
    axes.plot(ends, fit.held_out, "o", color="#d1495b", markersize=4, label="rows held out, after each epoch")
    axes.set_xlabel("rows seen")
    axes.legend(frameon=False, fontsize=8)


def _draw_sizes(axes: Any, quality: Quality) -> None:
    sizes = np.sort(quality.sizes_K)[::-1]
    empty = int((sizes == 0).sum())
    axes.set_title(
        f"rows of each of {len(sizes)} clusters" + (f", {empty} empty" if empty else ""),
        fontsize=10,
        loc="left",
    )
    axes.bar(np.arange(len(sizes)), sizes, width=1.0, color="#3b6fb6")
    axes.set_xlabel("cluster, by size")


def _draw_sample(axes: Any, model: KMeansModel, quality: Quality) -> None:
    rows_MD, labels_M = quality.sample_MD, quality.sample_labels_M
    axes.set_title(f"{len(rows_MD)} rows and the centres, two principal components", fontsize=10, loc="left")
    axes.set(xticks=[], yticks=[])
    if len(rows_MD) < 2:
        return
    mean_D = rows_MD.mean(axis=0)
    _, _, axes_DD = np.linalg.svd(rows_MD - mean_D, full_matrices=False)
    plane_D2 = axes_DD[:2].T
    flat_M2 = (rows_MD - mean_D) @ plane_D2
    centres_K2 = (model.space.enter_centres(model.centres_KD) - mean_D) @ plane_D2
    if plane_D2.shape[1] < 2:  # rows of one dimension lie on a line
        flat_M2, centres_K2 = (np.pad(flat, ((0, 0), (0, 1))) for flat in (flat_M2, centres_K2))
    largest = np.argsort(-quality.sizes_K, kind="stable")[:_COLOURED]
    others = ~np.isin(labels_M, largest)
    axes.scatter(*flat_M2[others].T, s=4, color="#c8c8c8")
    for rank, cluster in enumerate(largest):
        axes.scatter(*flat_M2[labels_M == cluster].T, s=4, color=f"C{rank}")
    axes.scatter(*centres_K2.T, s=18, marker="+", color="#202020", linewidths=0.8)
