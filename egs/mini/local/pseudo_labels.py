#!/usr/bin/env python3
"""Clusters of embeddings as labels for 'sdpn train --objective pseudo'; their number is found without labels.

    local/pseudo_labels.py --embeddings exp/embeddings/embeddings.scp --out exp/labels --json exp/labels.json

The number of clusters is the one with the best mean silhouette (sdpn/clustering/pseudo_labels.py). With
--utt2spk the clusters are compared with the speakers, in the JSON file only: nothing else looks at them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.clustering.agreement import agreement
from sdpn.clustering.pseudo_labels import pseudo_labels
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.kaldi import read_table, read_vectors


def numbered(words: list[str]) -> np.ndarray:
    """Integers from 0 for words."""
    return np.unique(words, return_inverse=True)[1]


def look_up(names: list[str], path: Path) -> list[str]:
    """Value of every name in a table.

    Raises:
        InputError: the table lacks one.
    """
    table = read_table(path)
    missing = next((name for name in names if name not in table), None)
    if missing is not None:
        raise InputError(f"has no line for {missing!r}, which has an embedding", path=path)
    return [table[name] for name in names]


def agreement_with_speakers(labels_N: np.ndarray, speakers: list[str]) -> dict[str, float]:
    """NMI and purity."""
    pairs_P2, counts_P = np.unique(np.stack([labels_N, numbered(speakers)], 1), axis=0, return_counts=True)
    found = agreement(pairs_P2[:, 0], pairs_P2[:, 1], counts_P)
    return {"nmi": found.nmi, "purity": found.purity, "ari": found.ari}


def main() -> None:
    """Read, cluster, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--embeddings", type=Path, required=True, metavar="SCP")
    parser.add_argument("--method", choices=("kmeans", "ahc"), default="kmeans", help="default: %(default)s")
    parser.add_argument(
        "--clusters", type=int, action="append", default=[], metavar="K", help="try K; may be repeated"
    )
    parser.add_argument(
        "--centroids",
        type=Path,
        metavar="TABLE",
        help="merge these 'utterance cluster' clusters (sdpn kmeans)",
    )
    parser.add_argument("--utt2spk", type=Path, metavar="TABLE", help="speakers, to score with only")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="'utterance cluster' lines")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    try:
        vectors = read_vectors(args.embeddings)
        names = list(vectors)
        points_N = None if args.centroids is None else numbered(look_up(names, args.centroids))
        found = pseudo_labels(
            np.stack(list(vectors.values())), method=args.method, counts=args.clusters, points_N=points_N
        )
        sizes_K = np.bincount(found.labels_N)
        results: dict[str, Any] = {
            "method": args.method,
            "clusters": found.count,
            "silhouettes": found.silhouettes,
            "largest": int(sizes_K.max()),
            "single": int((sizes_K == 1).sum()),
        }
        if args.utt2spk is not None:
            results |= agreement_with_speakers(found.labels_N, look_up(names, args.utt2spk))
    except InputError as error:
        raise SystemExit(f"pseudo_labels.py: error: {error}") from None
    lines = "".join(f"{name} {label}\n" for name, label in zip(names, found.labels_N.tolist(), strict=True))
    atomic_write_text(args.out, lines)
    atomic_write_text(args.json, json.dumps({"schema": "sdpn.pseudo_labels/1", "results": results}, indent=2))
    print(f"{found.count} clusters of {len(names)} utterances, the largest of {sizes_K.max()}: {args.out}")


if __name__ == "__main__":
    main()
