"""Pseudo-labels: one cluster for every utterance of the training data.

Shapes: N utterances.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance, read_table


class Labels(NamedTuple):
    """Pseudo-labels as class indices.

    Attributes:
        label_N: (N,) int64, class of each utterance in the order of the data, from 0 without gaps.
        num_classes: number of classes, at least 2.
        names: their names in the order of the indices; empty for pseudo-labels, whose names mean nothing.
    """

    label_N: Tensor
    num_classes: int
    names: tuple[str, ...] = ()


def read_labels(path: Path, utterances: Sequence[Utterance]) -> Labels:
    """Read ``utterance cluster`` lines for exactly these utterances.

    Cluster names are arbitrary words, numbered in the order of first occurrence.

    Raises:
        InputError: the file is missing or malformed, an utterance has no cluster or is not in the training
            data, or there is only one cluster.
    """
    table = read_table(path)
    known = {utterance.id for utterance in utterances}
    missing = [utterance.id for utterance in utterances if utterance.id not in table]
    if missing:
        raise InputError(
            f"has no cluster for {missing[0]!r} ({len(missing)} of {len(known)} utterances have none)",
            path=path,
            hint="cluster the embeddings of the whole training data, or train on a subset of it",
        )
    unknown = next((number for number, name in enumerate(table, start=1) if name not in known), None)
    if unknown is not None:
        raise InputError(
            f"contains {list(table)[unknown - 1]!r}, which is not in the training data",
            path=path,
            hint="give the data that the labels were made for with --data",
        )
    numbers: dict[str, int] = {}
    label_N = torch.tensor([numbers.setdefault(table[one.id], len(numbers)) for one in utterances])
    if len(numbers) < 2:
        raise InputError("contains a single cluster; at least two are needed", path=path)
    return Labels(label_N, len(numbers))
