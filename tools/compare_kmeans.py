#!/usr/bin/env python3
"""Inertia of streaming k-means relative to scikit-learn's KMeans on all rows.

    tools/compare_kmeans.py --embeddings xvectors.ark --clusters 16 [--chunks 10 100] [--seeds 5]

Rows are divided into chunks in the order of the table. Each setting is run with several seeds; 1 is the mean
inertia of KMeans(n_init=1) over the same number of seeds. Settings: the defaults, whose sample covers all
rows of small data; a sample of a quarter of the rows, as for long streams; the same with exact passes. ``fit
on each chunk`` is the bug that streaming k-means avoids.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sdpn.cli.script import script
from sdpn.cli.table import format_markdown
from sdpn.io.kaldi import read_vectors
from sdpn.kmeans.chunks import ArrayChunk
from sdpn.kmeans.fit import fit_stream
from sdpn.kmeans.model import nearest
from sdpn.kmeans.settings import StreamSettings


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--embeddings", type=Path, required=True, metavar="ARK|SCP")
    parser.add_argument("--clusters", type=int, required=True, metavar="K")
    parser.add_argument("--chunks", type=int, nargs="+", default=[10, 100], metavar="N")
    parser.add_argument("--seeds", type=int, default=5, metavar="S")
    args = parser.parse_args(argv)
    rows_ND = np.stack(list(read_vectors(args.embeddings).values()))
    print(table(rows_ND, args.clusters, args.chunks, range(args.seeds)))


def table(rows_ND: np.ndarray, num_clusters: int, nums_chunks: Sequence[int], seeds: Sequence[int]) -> str:
    """The comparison as Markdown."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    quarter = max(num_clusters, len(rows_ND) // 4)
    variants = {
        "defaults": {},
        "sample of a quarter": {"init_size": quarter},
        "the same, 20 exact passes at most": {"init_size": quarter, "lloyd_passes": 20},
    }
    full = [KMeans(num_clusters, n_init=1, random_state=seed).fit(rows_ND).inertia_ for seed in seeds]
    base = float(np.mean(full))
    lines = [["KMeans, all rows at once", "1", *_cells(np.array(full) / base), ""]]
    for num_chunks in nums_chunks:
        arrays = np.array_split(rows_ND, num_chunks)
        chunks = [ArrayChunk(name=f"chunk {at}", rows_ND=rows) for at, rows in enumerate(arrays)]
        for name, changes in variants.items():
            fits = [
                fit_stream(chunks, StreamSettings(n_clusters=num_clusters, seed=seed, **changes))  # type: ignore[arg-type]
                for seed in seeds
            ]
            assert all(set(fit.rows_per_pass) == {len(rows_ND)} for fit in fits)
            found = np.array([inertia(rows_ND, fit.model.centres_KD) for fit in fits]) / base
            passes = f"{np.mean([fit.epochs for fit in fits]):.0f}"
            if "lloyd_passes" in changes:
                passes += f" + {np.mean([len(fit.rows_per_pass) - fit.epochs for fit in fits]):.0f}"
            lines.append([name, str(num_chunks), *_cells(found), passes])
        of_the_bug = []
        for seed in seeds:
            bug = MiniBatchKMeans(num_clusters, random_state=seed, n_init=3)
            for rows in arrays:
                if len(rows) >= num_clusters:
                    bug.fit(rows)
            if hasattr(bug, "cluster_centers_"):
                of_the_bug.append(inertia(rows_ND, bug.cluster_centers_) / base)
        cells = _cells(np.array(of_the_bug)) if of_the_bug else ["no chunk is long enough", ""]
        lines.append(["fit on each chunk", str(num_chunks), *cells, ""])
    return format_markdown(["", "chunks", "inertia, mean", "least to most", "passes, mean"], lines)


def inertia(rows_ND: np.ndarray, centres_KD: np.ndarray) -> float:
    """Sum of squared distances, of rows and centres moved to the rows' mean."""
    mean_D = rows_ND.mean(axis=0)
    rows_ND, centres_KD = (rows_ND - mean_D).astype(np.float32), (centres_KD - mean_D).astype(np.float32)
    return float(nearest(rows_ND, centres_KD)[1].sum(dtype=np.float64))


def _cells(ratios: np.ndarray) -> list[str]:
    return [f"{ratios.mean():.3f}", f"{ratios.min():.3f} to {ratios.max():.3f}"]


if __name__ == "__main__":
    sys.exit(main())
