"""Magnitude pruning: the smallest weights of a network are set to zero.

Source: Han et al., "Learning both weights and connections", NeurIPS 2015, arXiv 1506.02626, without its
retraining; one threshold for all layers (global), which keeps more where weights are large.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils import prune

#: Layers whose weights are pruned; biases and normalisation are a hundredth of the parameters.
_PRUNED = (nn.Linear, nn.Conv1d, nn.Conv2d)


class PrunedNetwork(NamedTuple):
    """A network with zeros.

    Attributes:
        network: a copy; computing it takes as long as before, as dense kernels multiply zeros as well.
        share: of all parameters, that are zero.
        empty_layers: layers that have lost all weights, by name.
    """

    network: nn.Module
    share: float
    empty_layers: list[str]


def prune_by_magnitude(network: nn.Module, share: float) -> PrunedNetwork:
    """Set the smallest weights of all linear layers and convolutions to zero.

    Args:
        network: is left as it is.
        share: of these weights, in [0, 1).
    """
    pruned = copy.deepcopy(network)
    layers = {
        name: module
        for name, module in pruned.named_modules()
        if isinstance(module, _PRUNED) and isinstance(getattr(module, "weight", None), nn.Parameter)
    }
    if share:
        prune.global_unstructured(
            [(module, "weight") for module in layers.values()], prune.L1Unstructured, amount=share
        )
        for module in layers.values():
            prune.remove(module, "weight")
    with torch.no_grad():
        zeros = sum(int((value == 0).sum()) for value in pruned.parameters())
        empty = [name for name, module in layers.items() if not module.weight.any()]
    return PrunedNetwork(pruned, zeros / sum(value.numel() for value in pruned.parameters()), empty)
