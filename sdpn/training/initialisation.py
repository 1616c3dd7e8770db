"""Initialisation of a run: random weights or those of a model; uniform, k-means or given prototypes.

Shapes: K prototypes, E projection, N crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdpn.augmentation.speed import change_speed, samples_needed, speed_fraction
from sdpn.config import to_dict
from sdpn.data.crops import CropConfig, crop
from sdpn.distill.base import Branch, SelfDistillation
from sdpn.distill.distillation import Distill
from sdpn.distill.labels import Labels
from sdpn.distill.semi_supervised import SemiSupervised
from sdpn.distill.supervised import Supervised
from sdpn.errors import InputError
from sdpn.extraction.embed_corpus import embed_corpus
from sdpn.features.registry import AnyFeatureConfig
from sdpn.io.kaldi import Utterance
from sdpn.models.adapters import AdaptersConfig, adapter_weights
from sdpn.models.classifier import read_classifier
from sdpn.models.embedder import Embedder
from sdpn.models.encoder import Encoder
from sdpn.models.folder import read_model
from sdpn.models.pretraining import PRETRAINING, read_pretraining
from sdpn.models.registry import AnyEncoderConfig
from sdpn.models.weights import check_weights
from sdpn.pretrained import model_path
from sdpn.progress import Report, unreported

#: Crops per prototype for k-means; more hardly change the centres.
_CROPS_PER_PROTOTYPE = 20
#: Crops per class for its mean, likewise.
_CROPS_PER_CLASS = 50
#: How far the sub-centres of a class begin from its mean, of length 1.
_SPREAD = 0.1


@dataclass(frozen=True, kw_only=True)
class InitialConfig:
    """Initialisation of weights and prototypes.

    Attributes:
        model: model folder (``EXP/model``), or name of an included model, to initialise encoder and head of
            student and teacher from.
        prototypes: initial prototypes. ``uniform`` draws them from U(±1/√E) (published); ``kmeans`` uses
            k-means centres of the initial network's projections of the training speech, or with ``distill``
            of the teacher's embeddings; ``keep`` those of ``model``; ``classes`` the mean embedding of each
            class of ``pseudo`` or ``supervised``.
        head: model folder whose head and prototypes are used instead of those of ``model``. A network trained
            on pseudo-labels has no head; the one of the preceding SDPN run still fits it well.
    """

    model: Path | None = None
    head: Path | None = None
    prototypes: Literal["uniform", "kmeans", "keep", "classes"] = "uniform"

    def __post_init__(self) -> None:
        """Check that the settings fit together."""
        if self.prototypes == "keep" and self.model is None:
            raise ValueError("prototypes=keep needs a model")
        if self.head is not None and self.model is None:
            raise ValueError("head needs a model")


def initialise(
    network: SelfDistillation,
    config: InitialConfig,
    *,
    encoder: AnyEncoderConfig,
    crops: CropConfig,
    utterances: Sequence[Utterance],
    seed: int,
    labels: Labels | None = None,
    on_progress: Report = unreported,
) -> None:
    """Initialise weights and prototypes as configured; student and teacher are equal afterwards.

    Args:
        network: the network, changed in place.
        config: what from.
        encoder: settings of its encoder, which those of a model must equal.
        crops: what crops prototypes are made from.
        utterances: the training speech.
        seed: of crops and of k-means.
        labels: classes of the utterances.
        on_progress: called with (stage, done, total) while prototypes are made.

    Raises:
        InputError: the model does not fit the run (the settings are named), has no head or prototypes,
            there is too little speech for k-means, a class has no speech, or there are no classes.
    """
    kept: Tensor | None = None
    if config.model is not None:
        start = model_path(config.model)
        kept = _load_initial_weights(
            network,
            start,
            start if config.head is None else model_path(config.head),
            encoder=encoder,
            keeps=config.prototypes == "keep",
        )
    if config.prototypes == "keep":
        assert kept is not None and config.model is not None
        if kept.shape != network.prototypes.shape:
            raise InputError(
                f"has {kept.shape[0]} prototypes of {kept.shape[1]} dimensions; this run has "
                f"{network.prototypes.shape[0]} of {network.prototypes.shape[1]}",
                path=config.head or config.model,
                hint=f"set num_prototypes={kept.shape[0]}, or initial.prototypes to kmeans or uniform",
            )
        network.set_prototypes(kept)
        if isinstance(network, Supervised) and network.bias_K is not None:
            bias_K = read_classifier(model_path(config.model)).classes.bias_K
            if bias_K is not None:
                network.set_bias(bias_K)
    elif config.prototypes == "kmeans" and isinstance(network, Distill):
        teacher_NE = normalize(network.targets.available(), dim=1)
        network.set_prototypes(
            _kmeans_centres(teacher_NE, len(network.prototypes), "embeddings of the teacher", seed)
        )
    elif config.prototypes == "kmeans":
        network.set_prototypes(_kmeans_prototypes(network, crops, utterances, seed, on_progress))
    elif config.prototypes == "classes":
        if labels is None:
            raise InputError(
                "initial.prototypes=classes requires objective=pseudo or supervised, which have classes",
                hint="use --objective pseudo --labels FILE, or another initial.prototypes",
            )
        network.set_prototypes(_class_means(network, crops, utterances, labels, seed, on_progress))


def _load_initial_weights(
    network: SelfDistillation, path: Path, head: Path, *, encoder: AnyEncoderConfig, keeps: bool
) -> Tensor | None:
    """Load encoder and head into student and teacher; return the prototypes that belong to the head.

    A classifier that starts anew needs neither, so that the model may be one without.
    """
    model = read_model(path)
    differences = _differences("encoder", to_dict(model.encoder_config), to_dict(encoder))
    differences += _differences("features", to_dict(model.features), to_dict(network.features.config))
    if differences:
        raise InputError(
            f"does not fit this run: {'; '.join(differences)}",
            path=path,
            hint="use the settings of the model",
        )
    for branch in (network.student, network.teacher):
        beside = adapter_weights(branch.encoder, AdaptersConfig())
        branch.encoder.load_state_dict({**beside, **model.encoder.state_dict()})
    if isinstance(network, SemiSupervised) and (head / PRETRAINING).is_file():
        network.start_from(read_pretraining(head))
    if isinstance(network, Supervised) and not keeps:
        return None
    pretraining = read_pretraining(head)
    if not network.student.head.state_dict():  # pseudo-label training has no head
        return pretraining.prototypes
    wanted = {key: tensor.shape for key, tensor in network.student.head.state_dict().items()}
    check_weights(wanted, pretraining.head, head, against="this run, which has another projection head")
    for branch in (network.student, network.teacher):
        branch.head.load_state_dict(pretraining.head)
    return pretraining.prototypes


def _differences(section: str, theirs: dict[str, Any], mine: dict[str, Any]) -> list[str]:
    return [
        f"{section}.{key} is {theirs.get(key)!r} there, {mine.get(key)!r} here"
        for key in sorted(theirs.keys() | mine.keys())
        if theirs.get(key) != mine.get(key)
    ]


@torch.no_grad()
def _kmeans_prototypes(
    network: SelfDistillation,
    crops: CropConfig,
    utterances: Sequence[Utterance],
    seed: int,
    on_progress: Report,
) -> Tensor:
    """K-means centres of the initial network's projections of clean crops, (K, E)."""
    num_prototypes = len(network.prototypes)
    rng = np.random.default_rng((seed, len(utterances)))
    wanted = _CROPS_PER_PROTOTYPE * num_prototypes
    order = rng.permutation(len(utterances))
    each = -(-wanted // len(utterances))
    rows_NE, _ = _projections(network, crops, utterances, order[: -(-wanted // each)], each, rng, on_progress)
    return _kmeans_centres(rows_NE, num_prototypes, "non-silent crops", seed)


def _kmeans_centres(rows_NE: Tensor, num_prototypes: int, what: str, seed: int) -> Tensor:
    """K-means centres of unit rows, (K, E)."""
    from sklearn.cluster import MiniBatchKMeans

    unit_NE = rows_NE.cpu().numpy()
    if len(unit_NE) < num_prototypes:
        raise InputError(
            f"only {len(unit_NE)} {what} for {num_prototypes} k-means prototypes",
            hint="use fewer prototypes, or initial.prototypes=uniform",
        )
    means = MiniBatchKMeans(num_prototypes, batch_size=4096, n_init=3, random_state=seed).fit(unit_NE)
    return _as_prototypes(torch.from_numpy(means.cluster_centers_.astype(np.float32)).to(rows_NE.device))


@torch.no_grad()
def _class_means(
    network: SelfDistillation,
    crops: CropConfig,
    utterances: Sequence[Utterance],
    labels: Labels,
    seed: int,
    on_progress: Report,
) -> Tensor:
    """Mean direction of the projections of each class, of a clean crop of each of its utterances, (J, E).

    Of a large class, a random part of the utterances is enough. Where speech at other speeds makes further
    classes, theirs follow.
    """
    speeds = network.speeds if isinstance(network, Supervised) else (1.0,)
    chosen = _some_of_each(labels.label_N.cpu().numpy(), _CROPS_PER_CLASS, seed)
    rng = np.random.default_rng((seed, len(utterances)))
    parts = []
    for speed in speeds:
        found = _projections(
            network, crops, utterances, chosen, 1, rng, on_progress, speed=speed_fraction(speed)
        )
        parts.append(_means(utterances, labels, *found))
    means_KE = torch.cat(parts)
    centres = len(network.prototypes) // len(means_KE)
    means_JE = means_KE.repeat_interleave(centres, dim=0)
    if centres > 1:  # equal centres would have equal gradients for ever
        generator = torch.Generator().manual_seed(seed)
        noise_JE = torch.randn(means_JE.shape, generator=generator).to(means_JE.device)
        means_JE = means_JE + _SPREAD * normalize(noise_JE, dim=1)
    return _as_prototypes(means_JE)


def _means(utterances: Sequence[Utterance], labels: Labels, rows_NE: Tensor, utterance_N: Tensor) -> Tensor:
    """Mean direction of each class, (K, E), of rows of these utterances."""
    class_N = labels.label_N[utterance_N].to(rows_NE.device)
    counts_K = torch.bincount(class_N, minlength=labels.num_classes)
    if not counts_K.all():
        silent = utterances[int((labels.label_N == counts_K.argmin().cpu()).nonzero()[0])]
        raise InputError(
            f"the cluster of {silent.id!r} contains only digital silence or unreadable files",
            path=silent.path,
        )
    sums_KE = rows_NE.new_zeros(labels.num_classes, rows_NE.shape[1])
    return normalize(sums_KE.index_add_(0, class_N, rows_NE), dim=1)


def _some_of_each(label_N: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Which utterances, in order: at most ``most`` of each class, at random; none without a class."""
    order_N = np.random.default_rng(seed).permutation(len(label_N))
    order_N = order_N[np.argsort(label_N[order_N], kind="stable")]  # class by class
    sorted_N = label_N[order_N]
    place_N = np.arange(len(label_N)) - np.searchsorted(sorted_N, sorted_N)
    chosen: np.ndarray = np.sort(order_N[(sorted_N >= 0) & (place_N < most)])
    return chosen


def _as_prototypes(rows_KE: Tensor) -> Tensor:
    """Scale to the mean length of uniform prototypes, on which the effective learning rate depends."""
    return normalize(rows_KE, dim=1) / 3**0.5


def _projections(
    network: SelfDistillation,
    crops: CropConfig,
    utterances: Sequence[Utterance],
    chosen: np.ndarray,
    each: int,
    rng: np.random.Generator,
    on_progress: Report,
    *,
    speed: Fraction = Fraction(1),
) -> tuple[Tensor, Tensor]:
    """Unit projections (N, E) of ``each`` clean crops per chosen utterance, and their utterances (N,)."""
    network.teacher.eval()
    device = network.prototypes.device

    def draw(wave_S: np.ndarray, _index: int) -> list[np.ndarray]:
        drawn = [crop(wave_S, samples_needed(crops.global_samples, speed), rng) for _ in range(each)]
        return [change_speed(piece, speed, crops.global_samples) for piece in drawn if piece is not None]

    rows = [np.zeros((0, network.prototypes.shape[1]), dtype=np.float32)]
    places: list[int] = []
    for embedded in embed_corpus(
        Embedder(_Projector(network), device=str(device)),
        [utterances[index] for index in chosen],
        pieces=draw,
        channel=crops.channel,
        on_error="skip",  # the data loader counts and reports them
        on_progress=partial(
            on_progress, "initial prototypes" if speed == 1 else f"initial prototypes, speed {float(speed):g}"
        ),
    ):
        rows.append(embedded.embeddings_ND)
        places += [int(chosen[embedded.index])] * len(embedded.embeddings_ND)
    rows_NE = normalize(torch.from_numpy(np.concatenate(rows)).to(device), dim=1)
    return rows_NE, torch.tensor(places, dtype=torch.int64)


class _Projector:
    """The teacher as a model whose embeddings are its projections."""

    def __init__(self, network: SelfDistillation) -> None:
        self.encoder: Encoder = _Projecting(network.teacher, network.prototypes.shape[1])
        self.features = cast(AnyFeatureConfig, network.features.config)
        self.calibration: dict[str, float] = {}


class _Projecting(Encoder):
    """The teacher as an encoder from features to projections."""

    def __init__(self, branch: Branch, projection_dim: int) -> None:
        super().__init__()
        self.branch = branch
        self.embedding_dim = projection_dim

    def forward(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        assert lengths_B is None, "crops are equally long"
        projection_BE: Tensor = self.branch(features_BFT)[1]
        return projection_BE
