"""Layer-wise relevance propagation, where the network allows it.

Source: Bach et al., On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance
propagation, PLoS ONE 10(7), 2015; captum's rules: every layer hands the relevance of its outputs to its
inputs in proportion to their contributions. They know chains of convolutions, linear layers and ReLUs;
networks that multiply activations (squeeze-excitation, attention) are refused.

Shapes: F mel bins, T frames.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from sdpn.errors import InputError
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.target import Target
from sdpn.models.pooling import Mean

#: Leaves of a network whose relevance is known.
_KNOWN = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Linear,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.ReLU,
    nn.Dropout,
    nn.Identity,
    Mean,
)

#: Those that distribute relevance; the others pass it on.
_RULED = (nn.Conv1d, nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.AdaptiveAvgPool1d)


def allows_relevance(network: ExplainedNetwork) -> bool:
    """Whether relevance can be propagated through every layer of a network."""
    return not _obstacles(network)


def layerwise_relevance(network: ExplainedNetwork, target: Target, features_1FT: Tensor) -> Tensor:
    """Relevance (F, T), whose sum is about the score where it is linear in the embedding.

    Otherwise it is that of the score's tangent at the embedding.

    Raises:
        InputError: the network has layers that relevance cannot be propagated through; the message names
        them.
    """
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import EpsilonRule

    obstacles = _obstacles(network)
    if obstacles:
        raise InputError(
            f"relevance cannot be propagated through {', '.join(obstacles)}",
            hint="choose another method, or a network of convolutions, ReLU and mean pooling, such as "
            "xvector with pooling.kind=mean",
        )
    with torch.no_grad():
        embedding_1D = network.embed(features_1FT)
    embedding_1D.requires_grad_()
    (direction_1D,) = torch.autograd.grad(target.score(embedding_1D).sum(), embedding_1D)
    tangent = nn.Linear(embedding_1D.shape[1], 1, bias=False)
    tangent.weight.data = direction_1D
    # captum adds attributes to the layers
    scored = nn.Sequential(copy.deepcopy(network.encoder), tangent).eval()
    for module in list(scored.modules()):
        for name, child in module.named_children():
            if isinstance(child, Mean):
                setattr(module, name, _MeanPooling())
    for module in scored.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
        if isinstance(module, _RULED):
            module.rule = EpsilonRule()
    relevance_1FT: Tensor = LRP(scored).attribute(features_1FT.clone())
    return relevance_1FT.detach()[0]


class _MeanPooling(nn.Module):
    """`Mean` of a module that captum knows, which has no mask among its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.AdaptiveAvgPool1d(1)

    def forward(self, hidden_BCT: Tensor, _mask_BT: Tensor | None = None) -> Tensor:
        pooled_BC1: Tensor = self.mean(hidden_BCT)
        return pooled_BC1[..., 0]


def _obstacles(network: ExplainedNetwork) -> list[str]:
    """Kinds of leaves that are not known, and containers that compute with what their leaves give."""
    kinds = {type(module) for module in network.encoder.modules() if not next(module.children(), None)}
    return sorted(kind.__name__ for kind in kinds if not issubclass(kind, _KNOWN))
