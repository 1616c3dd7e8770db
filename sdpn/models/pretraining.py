"""The parts of a model folder for further training: projection head and prototypes.

Shapes: K prototypes, E projection.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sdpn.errors import InputError
from sdpn.models.weights import read_weights

#: File of a model folder.
PRETRAINING = "pretraining.safetensors"


class Pretraining(NamedTuple):
    """Head and prototypes as stored.

    Attributes:
        head: state dict of the projection head; the identity if the network was trained without one.
        prototypes: (K, E).
    """

    head: dict[str, Tensor]
    prototypes: Tensor


def read_pretraining(path: str | os.PathLike[str]) -> Pretraining:
    """Read ``pretraining.safetensors`` of a model folder.

    Raises:
        InputError: the folder has none, or it is damaged.
    """
    file = Path(path) / PRETRAINING
    if not file.is_file():
        raise InputError(
            f"the model folder has no {PRETRAINING}, and so neither a projection head nor prototypes",
            path=path,
            hint="start from a folder written by sdpn train",
        )
    tensors = read_weights(file)
    prototypes = tensors.pop("prototypes", None)
    if prototypes is None or prototypes.ndim != 2:
        raise InputError("contains no prototypes (K, E)", path=file)
    head = {key.removeprefix("head."): value for key, value in tensors.items()}
    if not head:  # prototypes of embeddings, as of a distilled network
        size = prototypes.shape[1]
        head = {"layers.0.weight": torch.eye(size), "layers.0.bias": torch.zeros(size)}
    return Pretraining(head, prototypes)


def own_pretraining(path: Path) -> Pretraining | None:
    """Head and prototypes of a model folder; None if it holds none.

    Raises:
        InputError: they are damaged.
    """
    return read_pretraining(path) if (path / PRETRAINING).is_file() else None
