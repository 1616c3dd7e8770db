#!/usr/bin/env python3
"""Clusters of embeddings as labels for 'sdpn train --objective pseudo'; no label is needed to find them.

    local/pseudo_labels.py --embeddings exp/embeddings/embeddings.scp --halves exp/halves/embeddings.scp \\
        --out exp/labels --json exp/labels.json

--halves holds embeddings of the halves of utterances, with ids UTT-1 and UTT-2 (local/halves.py). They tell
what differs within a voice, and how many clusters there are (sdpn/clustering/pseudo_labels.py). With
--utt2spk the clusters are compared with the speakers, in the JSON file only: nothing else looks at them.

Above 10,000 utterances, cluster finely first, in the same space:

    local/pseudo_labels.py --embeddings … --halves … --rows exp/rows
    sdpn kmeans --clusters 5000 --out exp/centroids exp/rows/embeddings.scp
    local/pseudo_labels.py --embeddings … --halves … --centroids exp/centroids/utt2cluster --out … --json …
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.clustering.agreement import agreement
from sdpn.clustering.pseudo_labels import pseudo_labels, speaker_rows
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.kaldi import read_table, read_vectors, vector_writer


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


def stack_halves(vectors: dict[str, np.ndarray], halves: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """Embeddings of the halves of every utterance, (N, 2, D); one that has none stands for both itself.

    Raises:
        InputError: no utterance has halves, or theirs are of another dimension.
    """
    rows = [
        [halves.get(f"{name}-1", whole), halves.get(f"{name}-2", whole)] for name, whole in vectors.items()
    ]
    if not any(f"{name}-1" in halves for name in vectors):
        raise InputError(
            "holds no half of any utterance",
            path=path,
            hint="ids UTT-1 and UTT-2 were expected (local/halves.py)",
        )
    if len({len(row) for pair in rows for row in pair}) > 1:
        raise InputError("holds embeddings of another dimension", path=path, hint="one model for both")
    return np.array(rows)


def write_rows(folder: Path, names: list[str], whole_ND: np.ndarray, halves_N2D: np.ndarray) -> None:
    """Write utterances in the space that they are clustered in."""
    (rows_NE, *_), space = speaker_rows(whole_ND, halves_N2D)
    with vector_writer(folder) as write:
        for name, row_E in zip(names, rows_NE, strict=True):
            write(name, row_E)
    print(f"{len(names)} utterances ({space}): {folder / 'embeddings.scp'}")


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
    parser.add_argument("--halves", type=Path, required=True, metavar="SCP", help="UTT-1 and UTT-2")
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
    parser.add_argument("--out", type=Path, metavar="FILE", help="'utterance cluster' lines")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument(
        "--rows", type=Path, metavar="DIR", help="cluster nothing, write what would be as DIR/embeddings.scp"
    )
    args = parser.parse_args()
    if args.rows is None and (args.out is None or args.json is None):
        parser.error("--out and --json are needed, or --rows")
    try:
        vectors = read_vectors(args.embeddings)
        names = list(vectors)
        whole_ND = np.stack(list(vectors.values()))
        halves_N2D = stack_halves(vectors, read_vectors(args.halves), args.halves)
        if args.rows is not None:
            write_rows(args.rows, names, whole_ND, halves_N2D)
            return
        points_N = None if args.centroids is None else numbered(look_up(names, args.centroids))
        found = pseudo_labels(
            whole_ND,
            halves_N2D,
            method=args.method,
            counts=args.clusters,
            points_N=points_N,
        )
        sizes_K = np.bincount(found.labels_N)
        results: dict[str, Any] = {
            "method": args.method,
            "clusters": found.count,
            "space": found.space,
            "agreement_of_halves": found.agreement,
            "largest": int(sizes_K.max()),
            "single": int((sizes_K == 1).sum()),
        }
        if args.utt2spk is not None:
            results |= agreement_with_speakers(found.labels_N, look_up(names, args.utt2spk))
        lines = "".join(
            f"{name} {label}\n" for name, label in zip(names, found.labels_N.tolist(), strict=True)
        )
        atomic_write_text(args.out, lines)
        atomic_write_text(
            args.json, json.dumps({"schema": "sdpn.pseudo_labels/1", "results": results}, indent=2)
        )
    except InputError as error:
        parser.exit(2, f"pseudo_labels.py: error: {error}\n")
    print(f"{found.count} clusters of {len(names)} utterances, the largest of {sizes_K.max()}: {args.out}")


if __name__ == "__main__":
    main()
