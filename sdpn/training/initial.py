"""What a run starts from: fresh weights, or a model; uniform prototypes, a model's, or k-means centres.

Shapes: K prototypes, E projection, N crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdpn.config import to_dict
from sdpn.data.crops import CropConfig, crop
from sdpn.distill.base import SelfDistillation
from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance
from sdpn.models.folder import read_model
from sdpn.models.pretraining import read_pretraining
from sdpn.models.registry import AnyEncoderConfig
from sdpn.models.weights import check_weights

#: Crops that k-means looks at, for each prototype; more do not change the centres much.
_CROPS_PER_PROTOTYPE = 20
_CROPS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class InitialConfig:
    """Where weights and prototypes come from.

    Attributes:
        model: model folder (``EXP/model``) whose encoder and head student and teacher start from.
        prototypes: ``uniform`` draws them from U(±1/√E) (published); ``kmeans`` takes the centres of the
            projections that the initial network gives to the training speech; ``keep`` takes those of
            ``model``.
    """

    model: Path | None = None
    prototypes: Literal["uniform", "kmeans", "keep"] = "uniform"

    def __post_init__(self) -> None:
        """Check that there is something to keep."""
        if self.prototypes == "keep" and self.model is None:
            raise ValueError("prototypes: keep needs a model to keep them from")


def initialise(
    network: SelfDistillation,
    config: InitialConfig,
    *,
    encoder: AnyEncoderConfig,
    crops: CropConfig,
    utterances: Sequence[Utterance],
    seed: int,
) -> None:
    """Set the weights and prototypes that ``config`` names; student and teacher are equal afterwards.

    Raises:
        InputError: the model does not fit the run (the settings are named), has no head or prototypes, or
            there is too little speech for k-means.
    """
    kept: Tensor | None = None
    if config.model is not None:
        kept = _take_over(network, config.model, encoder=encoder)
    if config.prototypes == "keep":
        assert kept is not None and config.model is not None
        if kept.shape != network.prototypes.shape:
            raise InputError(
                f"holds {kept.shape[0]} prototypes of {kept.shape[1]} dimensions; this run has "
                f"{network.prototypes.shape[0]} of {network.prototypes.shape[1]}",
                path=config.model,
                hint=f"set num_prototypes={kept.shape[0]}, or initial.prototypes to kmeans or uniform",
            )
        network.set_prototypes(kept)
    elif config.prototypes == "kmeans":
        network.set_prototypes(_centres(network, crops, utterances, seed))


def _take_over(network: SelfDistillation, path: Path, *, encoder: AnyEncoderConfig) -> Tensor:
    """Load encoder and head into student and teacher; return the model's prototypes."""
    model = read_model(path)
    differences = _differences("encoder", to_dict(model.encoder_config), to_dict(encoder))
    differences += _differences("features", to_dict(model.features), to_dict(network.features.config))
    if differences:
        raise InputError(
            f"does not fit this run: {'; '.join(differences)}",
            path=path,
            hint="give the run the model's settings",
        )
    pretraining = read_pretraining(path)
    wanted = {key: tensor.shape for key, tensor in network.student.head.state_dict().items()}
    check_weights(wanted, pretraining.head, path, against="this run, which has another projection head")
    for branch in (network.student, network.teacher):
        branch.encoder.load_state_dict(model.encoder.state_dict())
        branch.head.load_state_dict(pretraining.head)
    return pretraining.prototypes


def _differences(section: str, theirs: dict[str, Any], mine: dict[str, Any]) -> list[str]:
    return [
        f"{section}.{key} is {theirs.get(key)!r} there, {mine.get(key)!r} here"
        for key in sorted(theirs.keys() | mine.keys())
        if theirs.get(key) != mine.get(key)
    ]


@torch.no_grad()
def _centres(
    network: SelfDistillation, crops: CropConfig, utterances: Sequence[Utterance], seed: int
) -> Tensor:
    """K-means centres of the initial network's projections of clean crops, (K, E)."""
    from sklearn.cluster import MiniBatchKMeans

    num_prototypes, projection_dim = network.prototypes.shape
    rng = np.random.default_rng((seed, len(utterances)))
    wanted = _CROPS_PER_PROTOTYPE * num_prototypes
    waves: list[np.ndarray] = []
    rows: list[Tensor] = []
    network.teacher.eval()
    order = rng.permutation(len(utterances))
    each = -(-wanted // len(utterances))
    device = network.prototypes.device
    for index in order[: -(-wanted // each)]:
        wave = utterances[index].read()
        pieces = [crop(wave, crops.global_samples, rng) for _ in range(each)]
        waves += [piece for piece in pieces if piece is not None]
        if len(waves) >= _CROPS_AT_ONCE:
            rows.append(_project(network, waves, device))
            waves = []
    if waves:
        rows.append(_project(network, waves, device))
    unit_NE = torch.cat(rows).cpu().numpy() if rows else np.empty((0, projection_dim), np.float32)
    if len(unit_NE) < num_prototypes:
        raise InputError(
            f"only {len(unit_NE)} crops that are not silent for {num_prototypes} k-means prototypes",
            hint="use fewer prototypes, or initial.prototypes=uniform",
        )
    means = MiniBatchKMeans(num_prototypes, batch_size=4096, n_init=3, random_state=seed).fit(unit_NE)
    # As long as uniform prototypes are on average: the step of an optimizer turns a shorter one further.
    length = 1 / 3**0.5
    centres_KE = normalize(torch.from_numpy(means.cluster_centers_.astype(np.float32)), dim=1) * length
    return centres_KE.to(device)


def _project(network: SelfDistillation, waves: list[np.ndarray], device: torch.device) -> Tensor:
    features = network.features(torch.from_numpy(np.stack(waves)).to(device))
    return normalize(network.teacher(features)[1].float(), dim=1)
