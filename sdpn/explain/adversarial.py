"""How far small adversarial noise in the features moves a score and its map, next to random noise of its
size.

Source: Madry et al., Towards deep learning models resistant to adversarial attacks, arXiv 1706.06083;
captum's projected gradient descent.

Shapes: F mel bins, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sdpn.explain.methods import RelevanceMap, find_method
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.rank_correlation import map_agreement
from sdpn.explain.target import Target

#: Largest change of a value of the log features: 0.05 is a fifth of a dB.
RADIUS = 0.05
_STEPS = 5


@dataclass(frozen=True)
class AdversarialEffect:
    """What noise of at most `RADIUS` in every value does.

    Attributes:
        score: without noise.
        adversarial_score: with noise that lowers it.
        random_score: with random signs of the same size.
        adversarial_agreement: rank correlation of the map with that of the features with adversarial noise.
        random_agreement: the same with random noise.
    """

    score: float
    adversarial_score: float
    random_score: float
    adversarial_agreement: float
    random_agreement: float


def adversarial_effect(
    network: ExplainedNetwork, target: Target, features_1FT: Tensor, method: str, *, seed: int = 0
) -> AdversarialEffect:
    """Search for noise that lowers a score, and compare score and map with those of random noise.

    Args:
        network: the network.
        target: whose score is attacked.
        features_1FT: the features of an utterance.
        method: of the maps.
        seed: random seed of the random noise.
    """
    from captum.robust import PGD

    scorer = network.scorer(target)
    attack = PGD(
        lambda features: scorer(features).unsqueeze(1), loss_func=lambda scores, _target: -scores[:, 0]
    )
    adversarial: Tensor = attack.perturb(
        features_1FT.clone(), radius=RADIUS, step_size=RADIUS / 2, step_num=_STEPS, target=0
    )
    signs = torch.randint(0, 2, features_1FT.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    random = features_1FT + RADIUS * signs.to(features_1FT)
    explain = find_method(method).explain
    scores, maps = [], []
    for features in (features_1FT, adversarial.detach(), random):
        with torch.no_grad():
            scores.append(float(scorer(features)))
        values_FT = explain(network, target, features).cpu().numpy()
        maps.append(RelevanceMap(method, target.name, scores[-1], values_FT, network.hop_s))
    return AdversarialEffect(
        scores[0], scores[1], scores[2], map_agreement(maps[0], maps[1]), map_agreement(maps[0], maps[2])
    )
