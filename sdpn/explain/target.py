"""What a map explains: one number that is computed of an embedding.

Shapes: B batch, D embedding, N speakers, K prototypes, E projection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, log_softmax, normalize

from sdpn.errors import InputError
from sdpn.models.heads import HeadConfig, ProjectionHead
from sdpn.models.pretraining import Pretraining

#: Temperature τ of the student in SDPN (arXiv 2308.02774): what assignments to prototypes are computed with.
_TEMPERATURE = 0.1


@dataclass(frozen=True)
class Target:
    """A number computed of embeddings, to be explained.

    Attributes:
        name: what it is, for people.
        score: maps embeddings (B, D) to scores (B,), differentiably.
    """

    name: str
    score: Callable[[Tensor], Tensor]


def own_voice(embedding_D: Tensor) -> Target:
    """How far the embedding points where it points: the projection on its own direction, as a share of it.

    Not the cosine, whose gradient vanishes where it is 1.
    """
    direction_D = embedding_D.detach() / embedding_D.detach().square().sum().clamp(min=1e-12)
    return Target("its own embedding", lambda embedding_BD: embedding_BD @ direction_D)


def similarity_to(reference_D: Tensor, name: str) -> Target:
    """The cosine to another embedding (D,)."""
    unit_D = normalize(reference_D.detach(), dim=0)
    return Target(f"similarity to {name}", lambda embedding_BD: normalize(embedding_BD, dim=1) @ unit_D)


def speaker_class(centroids_ND: Tensor, index: int, name: str) -> Target:
    """The cosine to one of N speakers, minus the mean of that to the others.

    Args:
        centroids_ND: mean embedding of every speaker.
        index: the speaker.
        name: of the speaker.
    """
    unit_ND = normalize(centroids_ND.detach(), dim=1)
    weight_N = unit_ND.new_full((len(unit_ND),), -1 / max(1, len(unit_ND) - 1))
    weight_N[index] = 1.0
    direction_D = weight_N @ unit_ND
    return Target(f"speaker {name}", lambda embedding_BD: normalize(embedding_BD, dim=1) @ direction_D)


def prototype_assignment(pretraining: Pretraining, index: int) -> Target:
    """The log probability with which an utterance is assigned to one of K prototypes.

    Raises:
        InputError: there is no such prototype.
    """
    assign = assignments(pretraining)
    if not 0 <= index < len(pretraining.prototypes):
        raise InputError(
            f"there is no prototype {index}",
            hint=f"expected a number from 0 to {len(pretraining.prototypes) - 1}",
        )
    return Target(f"assignment to prototype {index}", lambda embedding_BD: assign(embedding_BD)[:, index])


def assignments(pretraining: Pretraining) -> Callable[[Tensor], Tensor]:
    """Maps embeddings (B, D) to log probabilities (B, K) of the prototypes (arXiv 2308.02774, equation 2)."""
    head = stored_head(pretraining)
    unit_KE = normalize(pretraining.prototypes.detach().float(), dim=1)

    def assign(embedding_BD: Tensor) -> Tensor:
        projection_BE = normalize(head.to(embedding_BD.device)(embedding_BD), dim=1)
        return log_softmax(linear(projection_BE, unit_KE.to(embedding_BD)) / _TEMPERATURE, dim=1)

    return assign


def stored_head(pretraining: Pretraining) -> nn.Module:
    """The projection head of a model folder, in evaluation mode; its sizes are those of its weights.

    Raises:
        InputError: its keys are those of another network.
    """
    weights = {key: value.float() for key, value in pretraining.head.items()}
    if weights.keys() == {"weight", "bias"}:  # of a distilled network
        linear_head = nn.Linear(weights["weight"].shape[1], weights["weight"].shape[0])
        linear_head.load_state_dict(weights)
        return linear_head.eval()
    matrices = [key for key, value in weights.items() if key.endswith("weight") and value.ndim == 2]
    if not matrices or any(not key.startswith("layers.") for key in weights):
        raise InputError(
            f"the projection head has unknown weights {', '.join(sorted(weights)) or '(none)'}",
            hint="give a model folder written by sdpn train",
        )
    first, last = weights[matrices[0]], weights[matrices[-1]]
    config = HeadConfig(
        hidden_dim=first.shape[0],
        num_hidden=len(matrices) - 1,
        projection_dim=last.shape[0],
        batch_norm=any(key.endswith("running_mean") for key in weights),
    )
    with torch.random.fork_rng(devices=[]):  # initial weights, which are replaced
        head = ProjectionHead(config, first.shape[1])
    try:
        head.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"the projection head does not fit its weights: {error}") from error
    return head.eval()
