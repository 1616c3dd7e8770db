"""Maps from gradients with respect to the features: gradient times input, and integrated gradients.

Sources: Shrikumar et al., Not just a black box, arXiv 1605.01713; Sundararajan et al., Axiomatic attribution
for deep networks, arXiv 1703.01365. Both are captum's.

Shapes: F mel bins, T frames.
"""

from __future__ import annotations

from torch import Tensor

from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.target import Target

#: Steps of the integral; 8 give the sum to 2 % of that of 64 on a trained network.
_STEPS = 8
#: Interpolated inputs in one batch.
_AT_ONCE = 4


def gradient_times_input(network: ExplainedNetwork, target: Target, features_1FT: Tensor) -> Tensor:
    """Relevance (F, T) to first order: what is lost where a value becomes its mean over the utterance."""
    from captum.attr import InputXGradient

    relevance_1FT: Tensor = InputXGradient(network.scorer(target)).attribute(
        features_1FT.clone().requires_grad_()
    )
    return relevance_1FT.detach()[0]


def integrated_gradients(network: ExplainedNetwork, target: Target, features_1FT: Tensor) -> Tensor:
    """Relevance (F, T) along the line from the mean of every band to the features.

    Its sum is the score minus that of an utterance without any change over time.
    """
    from captum.attr import IntegratedGradients

    relevance_1FT: Tensor = IntegratedGradients(network.scorer(target)).attribute(
        features_1FT, n_steps=_STEPS, internal_batch_size=_AT_ONCE
    )
    return relevance_1FT.detach()[0].to(features_1FT.dtype)
