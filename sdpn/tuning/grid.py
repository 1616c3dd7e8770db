"""The settings that are tried: every combination of a few values."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from sdpn.clustering.registry import make_clusterer
from sdpn.errors import InputError
from sdpn.tuning.values import Range, parse_values

#: Field -> values to try.
Grid = Mapping[str, Sequence[object]]

#: Most combinations; more would choose among noise.
_MOST = 1000

#: What is tried where nothing is asked for: the settings that decide on the number of speakers.
USUAL: Mapping[str, Grid] = {
    "ahc": {"threshold": [0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6]},
    "spectral": {"neighbours": [0.02, 0.05, 0.1, 0.2], "min_neighbours": [5, 10, 20]},
    "nmesc": {"min_neighbours": [5, 10, 20], "max_neighbours": [0.1, 0.25, 0.5]},
    "kmeans": {"min_silhouette": [0.05, 0.1, 0.15, 0.2, 0.25, 0.3]},
    "hdbscan": {"min_cluster_size": [5, 10, 20, 40]},
    "vbx": {"fa": [0.1, 0.25, 0.5], "fb": [1.0, 2.5, 5.0, 10.0], "loop_prob": [0.9, 0.99]},
    "consensus": {"fa": [0.1, 0.25, 0.5], "fb": [1.0, 2.5, 5.0, 10.0], "spread": [1.5, 2.0]},
    "merging": {"prior_odds": [-1.0, -0.5, 0.0, 0.5, 1.0], "start": [0.6, 0.8, 0.9]},
}


def parse_grid(words: Sequence[str], method: str) -> dict[str, list[object]]:
    """Values from ``KEY=V1,V2,…``; KEY is a field of the clusterer, with or without ``METHOD.``.

    Args:
        words: one for each field.
        method: the clusterer.

    Raises:
        InputError: a word is malformed, of another clusterer, or given twice.
    """
    grid: dict[str, list[object]] = {}
    for word in words:
        key, values = parse_values(word)
        section, _, field = key.rpartition(".")
        if isinstance(values, Range):
            raise InputError(f"--try {word!r} is a range", hint="expected KEY=V1,V2,…: fb=1,2.5,5")
        if section not in ("", method):
            raise InputError(f"--try {key} has no effect with --method {method}")
        if field in grid:
            raise InputError(f"--try {field} is given twice", hint="give all of its values in one")
        grid[field] = values
    return grid


def combinations(method: str, grid: Grid) -> list[dict[str, object]]:
    """Every combination, checked; the first is the defaults, ``{}``.

    Raises:
        InputError: too many, or one that the clusterer does not take.
    """
    total = 1
    for values in grid.values():
        total *= len(values)
    if total > _MOST:
        raise InputError(f"{total} combinations of settings are too many", hint=f"try at most {_MOST}")
    defaults = make_clusterer(method)
    found: list[dict[str, object]] = [{}]
    made = [defaults]
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        clusterer = make_clusterer(method, settings)
        if clusterer not in made:  # 1 and 1.0, or the default written out
            found.append(settings)
            made.append(clusterer)
    return found
