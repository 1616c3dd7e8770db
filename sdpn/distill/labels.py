"""Pseudo-labels: the cluster of every utterance of the training data.

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
    """Classes to learn.

    Attributes:
        label_N: (N,) int64, class of each utterance in the order of the data, from 0 without gaps.
        num_classes: number of classes, at least 2.
    """

    label_N: Tensor
    num_classes: int


def read_labels(path: Path, utterances: Sequence[Utterance]) -> Labels:
    """Read ``utterance cluster`` lines for exactly these utterances.

    Clusters are any words; they are numbered in the order in which the utterances name them.

    Raises:
        InputError: the file is missing or malformed, an utterance has no cluster, a line names an utterance
            that the data does not hold, or all are in one cluster.
    """
    table = read_table(path)
    known = {utterance.id for utterance in utterances}
    missing = [utterance.id for utterance in utterances if utterance.id not in table]
    if missing:
        raise InputError(
            f"has no cluster for {missing[0]!r} (nor for {len(missing) - 1} others of {len(known)})",
            path=path,
            hint="cluster the embeddings of the whole training data, or train on a subset of it",
        )
    unknown = next((number for number, name in enumerate(table, start=1) if name not in known), None)
    if unknown is not None:
        raise InputError(
            f"names {list(table)[unknown - 1]!r}, which the training data does not hold",
            path=path,
            hint="the labels belong to other data; give that with --data",
        )
    numbers: dict[str, int] = {}
    label_N = torch.tensor([numbers.setdefault(table[one.id], len(numbers)) for one in utterances])
    if len(numbers) < 2:
        raise InputError("puts all utterances in one cluster; there is nothing to tell apart", path=path)
    return Labels(label_N, len(numbers))
