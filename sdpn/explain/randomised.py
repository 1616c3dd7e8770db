"""A network with its weights drawn again: a map that stays the same does not explain what was learned.

Source: Adebayo et al., Sanity checks for saliency maps, arXiv 1810.03292.
"""

from __future__ import annotations

import copy

import torch

from sdpn.explain.network import ExplainedNetwork


def randomised(network: ExplainedNetwork, *, seed: int = 0) -> ExplainedNetwork:
    """A copy of a network with every weight and statistic as at initialisation."""
    embedder = copy.copy(network.embedder)
    embedder.encoder = copy.deepcopy(network.encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in embedder.encoder.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return ExplainedNetwork(embedder)
