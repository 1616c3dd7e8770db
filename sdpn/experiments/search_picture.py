"""The picture of a search: the figure of every run against each setting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sdpn.experiments.search import SearchTrial

#: Values that are written below a panel as they are; of more, the axis has round ones.
_MOST_TICKS = 6


def draw_search(trials: Sequence[SearchTrial], best: SearchTrial, name: str, path: Path) -> None:
    """Draw a panel for each setting; the dashed line is the training as it was given.

    Args:
        trials: all runs, the first one as given.
        best: the chosen one, which is marked.
        name: of the figure.
        path: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    keys = list(dict.fromkeys(key for one in trials for key in one.settings))
    figure = Figure(figsize=(4.2 * max(1, len(keys)), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    every = figure.subplots(1, max(1, len(keys)), sharey=True, squeeze=False)[0]
    for axes, key in zip(every, keys, strict=False):
        known = [one for one in trials if key in one.settings and one.figure is not None]
        values = [one.settings[key] for one in known]
        numeric = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in values)
        if numeric:
            places = np.array(values, dtype=float)
            if len(places) and places.min() > 0 and places.max() / places.min() >= 10:
                axes.set_xscale("log")
            tried = np.unique(places)
            if len(tried) <= _MOST_TICKS:
                axes.set_xticks(tried, [f"{value:g}" for value in tried])
                axes.minorticks_off()
        else:
            names = list(dict.fromkeys(map(str, values)))
            places = np.array([names.index(str(one)) for one in values], dtype=float)
            axes.set_xticks(range(len(names)), names)
        axes.plot(places, [one.figure for one in known], "o", color="#2f5fb5", alpha=0.7)
        if key in best.settings:
            axes.plot(
                places[known.index(best)], best.figure, "o", color="#b5402f", markersize=9, label="best"
            )
        if trials[0].figure is not None:
            axes.axhline(trials[0].figure, color="gray", linestyle="--", linewidth=0.8, label="as given")
        axes.set_xlabel(key)
        axes.grid(linewidth=0.3)
    every[0].set_ylabel(name)
    every[0].legend(fontsize=8)
    figure.savefig(path, dpi=100, format="png")
