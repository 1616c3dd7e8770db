"""Layer-wise relevance propagation, where the network allows it.

Source: Bach et al., On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance
propagation, PLoS ONE 10(7), 2015; captum's rules: every layer hands the relevance of its outputs to its
inputs in proportion to their contributions. They know chains of convolutions, linear layers and ReLUs;
networks that multiply activations (squeeze-excitation, attention) are refused.

Shapes: F mel bins, T frames.
"""

from __future__ import annotations

import copy

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
_RULED = (nn.Conv1d, nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, Mean)


def allows_relevance(network: ExplainedNetwork) -> bool:
    """Whether relevance can be propagated through every layer of a network."""
    return not _obstacles(network)


def layerwise_relevance(network: ExplainedNetwork, target: Target, features_1FT: Tensor) -> Tensor:
    """Relevance (F, T), whose sum is about the score.

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
    scored = copy.deepcopy(_Scored(network.encoder, target)).eval()  # captum adds attributes to the layers
    for module in scored.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
        if isinstance(module, _RULED):
            module.rule = EpsilonRule()
    relevance_1FT: Tensor = LRP(scored).attribute(features_1FT.clone())
    return relevance_1FT.detach()[0]


class _Scored(nn.Module):
    """The network and the target's score (B, 1) as one module."""

    def __init__(self, encoder: nn.Module, target: Target) -> None:
        super().__init__()
        self.encoder = encoder
        self._target = target

    def forward(self, features_BFT: Tensor) -> Tensor:
        return self._target.score(self.encoder(features_BFT)).unsqueeze(1)


def _obstacles(network: ExplainedNetwork) -> list[str]:
    """Kinds of leaves that are not known, and containers that compute with what their leaves give."""
    kinds = {type(module) for module in network.encoder.modules() if not next(module.children(), None)}
    return sorted(kind.__name__ for kind in kinds if not issubclass(kind, _KNOWN))
