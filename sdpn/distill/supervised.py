"""Training with labels: classification of speakers.

The prototypes are the weights of the classifier: rows of a linear layer, or class centres compared by cosine.
The exported network and its classifier are the EMA of the trained ones; with ``teacher.momentum=0`` and
``teacher.final_momentum=0`` they are these themselves.

Shapes: B batch, V local crops, D embedding, E projection, K classes, S speeds, J = S · K · C centres,
N utterances.

Sources: AM-softmax, arXiv 1801.05599; AAM-softmax, 1801.07698; sub-centres, Deng et al., ECCV 2020;
inter-top-K penalty, 2110.05042; large-margin fine-tuning, Thienpondt et al., 2010.11255.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sdpn.data.crops import CropBatch
from sdpn.distill.base import LossTerms, Projections, SelfDistillation
from sdpn.distill.labels import Labels
from sdpn.distill.margin import scheduled_margin, with_additive_margin, with_margin, with_nearest_penalty
from sdpn.features.given import GivenFeatures
from sdpn.models.classifier import Classes, centre_cosines, class_logits, nearest_centres


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig:
    """Classification of labelled speakers. Usual for ``aam``: margin 0.2, scale 32.

    Attributes:
        labels: file of ``utterance class`` lines; None takes ``utt2spk`` of the data.
        unlabelled: utterances without a label: ``refuse`` ends the run, ``drop`` trains without them.
        head: ``linear``: one linear layer on the embedding; ``mlp``: a hidden layer before it; ``am`` and
            ``aam``: cosines to class centres with an additive or an additive angular margin.
        hidden: units of the hidden layer of ``mlp``.
        scale: scale s of the cosines.
        margin: margin m, of ``aam`` in radians.
        margin_start_step: steps before the margin starts to grow from 0.
        margin_warmup_steps: steps in which it grows linearly.
        sub_centres: centres C of each class, of which the nearest counts.
        nearest: so many other classes, the nearest ones, get the margin ``nearest_margin`` against
            themselves; 0 for none.
        nearest_margin: that margin, in radians.
        folds: the utterances of each class are split into so many parts, of which one is left out of
            training for validation; 0 trains on all and validates on none.
        fold: which of them, from 0.
        split_seed: random seed of the folds, apart from that of the training.
        balanced: every class is drawn equally often, instead of every utterance.
        long_start_step: from this step on, crops are ``long_s`` long and the margin is ``long_margin``,
            without one against the nearest other classes (large-margin fine-tuning); 0 for never.
        long_s: length of these crops in seconds.
        long_margin: their margin, of ``aam`` in radians.
        unlabelled_share: share of utterances without a label in every batch, where there are any to train on.
        unlabelled_weight: weight of the objective of section ``sdpn`` on them.
        patience: the run ends after so many evaluations without a better accuracy; 0 trains to the end.
    """

    labels: Path | None = None
    unlabelled: Literal["refuse", "drop"] = "refuse"
    head: Literal["linear", "mlp", "am", "aam"] = "aam"
    hidden: int = 256
    scale: float = 32.0
    margin: float = 0.2
    margin_start_step: int = 0
    margin_warmup_steps: int = 100
    sub_centres: int = 1
    nearest: int = 0
    nearest_margin: float = 0.06
    folds: int = 0
    fold: int = 0
    split_seed: int = 0
    balanced: bool = False
    long_start_step: int = 0
    long_s: float = 5.0
    long_margin: float = 0.5
    unlabelled_share: float = 0.5
    unlabelled_weight: float = 1.0
    patience: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.scale <= 0:
            raise ValueError("scale must be positive")
        if any(not 0 <= one < 1.5 for one in (self.margin, self.nearest_margin, self.long_margin)):
            raise ValueError("margin, nearest_margin and long_margin must lie in [0, 1.5)")
        if self.long_start_step < 0 or self.long_s < 0.1:
            raise ValueError("long_start_step must not be negative, long_s at least 0.1 s")
        if not 0 < self.unlabelled_share < 1 or self.unlabelled_weight <= 0:
            raise ValueError("unlabelled_share must lie between 0 and 1, unlabelled_weight be positive")
        if min(self.margin_start_step, self.margin_warmup_steps, self.nearest, self.patience) < 0:
            raise ValueError(
                "margin_start_step, margin_warmup_steps, nearest and patience must not be negative"
            )
        if self.hidden < 1 or self.sub_centres < 1:
            raise ValueError("hidden and sub_centres must be positive")
        if not self.cosine and (self.sub_centres > 1 or self.nearest):
            raise ValueError("sub_centres and nearest need cosines: set head to am or aam")
        if self.folds < 0 or self.folds == 1:
            raise ValueError("folds must be 0, for none, or at least 2")
        if not 0 <= self.fold < max(1, self.folds):
            raise ValueError(f"fold is {self.fold}; folds are counted from 0 to {max(1, self.folds) - 1}")
        if self.split_seed < 0:
            raise ValueError("split_seed must not be negative")

    @property
    def cosine(self) -> bool:
        """Whether the logits are cosines."""
        return self.head in ("am", "aam")


class Supervised(SelfDistillation):
    """Student, its EMA, and a classifier.

    Args:
        student: see `SelfDistillation`; its projections are what the classifier sees: embeddings, or the
            hidden layer of ``mlp``.
        average: the EMA of the student; None copies the student.
        labels: the class of each utterance, and the names of the classes.
        config: settings of the objective; None for the defaults.
        features: see `SelfDistillation`.
        speeds: at which every class is another one, 1 first. Those of 1 alone are validated and exported.
    """

    label_N: Tensor

    def __init__(
        self,
        student: nn.Module,
        average: nn.Module | None,
        labels: Labels,
        *,
        config: SupervisedConfig | None = None,
        features: nn.Module | None = None,
        speeds: Sequence[float] = (1.0,),
    ) -> None:
        self_config = config or SupervisedConfig()
        trained = len(speeds) * labels.num_classes
        super().__init__(
            student,
            average,
            trained * self_config.sub_centres,
            features=features,
            batch_norm="student",
        )
        self.config = self_config
        self.names = labels.names or tuple(str(index) for index in range(labels.num_classes))
        self.speeds = tuple(speeds)
        self.register_buffer("label_N", labels.label_N)
        bias_K = torch.zeros(trained)
        self.bias_K = None if self_config.cosine else nn.Parameter(bias_K)
        # parameters, as those of the teacher, so that DDP makes them equal at the start
        self.average_JE = nn.Parameter(self.prototypes.detach().clone(), requires_grad=False)
        self.average_bias_K = (
            None if self.bias_K is None else nn.Parameter(bias_K.clone(), requires_grad=False)
        )
        self._updates = 0

    @property
    def classifier(self) -> tuple[Classes, Tensor]:
        """The EMA's classifier of speech at its own speed: the classes, and their weights or centres."""
        num_classes = len(self.names)
        bias_K = None if self.average_bias_K is None else self.average_bias_K[:num_classes]
        return self._classes(bias_K), self.average_JE[: num_classes * self.config.sub_centres]

    def _classes(self, bias_K: Tensor | None) -> Classes:
        scale = self.config.scale if self.config.cosine else 1.0
        return Classes(self.names, self.config.head, scale, self.config.sub_centres, bias_K)

    def project(self, batch: CropBatch) -> Projections:
        """Forward pass of the student; there is no teacher, whose place holds the student's own rows."""
        embedding_VBD, student_VBE = self.forward_branch(self.student, batch.local_VBS, batch.erasure_VB4)
        return Projections(student_VBE.detach()[:1], student_VBE, embedding_VBD, self._examples(batch))

    def _examples(self, batch: CropBatch) -> Tensor:
        """Index of each utterance (B,) among those at all speeds, S · N of them, speed by speed."""
        return batch.utterance_B + len(self.label_N) * batch.speed_index(self.speeds)

    def _labels_of(self, example_B: Tensor) -> Tensor:
        """The class of each, K · S of them, speed by speed; below 0 for none."""
        own_B = self.label_N[example_B % len(self.label_N)]
        moved_B = own_B + len(self.names) * (example_B // len(self.label_N))
        return torch.where(own_B < 0, own_B, moved_B)

    def objective(self, projections: Projections) -> LossTerms:
        """Cross-entropy of the labels, with margin."""
        config = self.config
        own_1BE, student_VBE, embedding_VBD, example_B = projections
        with torch.autocast(student_VBE.device.type, enabled=False):
            wide_VBE = student_VBE if student_VBE.dtype == torch.float64 else student_VBE.float()
            label_B = self._labels_of(example_B)
            if config.cosine:
                cosine_VBJ = centre_cosines(wide_VBE, self.prototypes)
                cosine_VBK = nearest_centres(cosine_VBJ, config.sub_centres)
                plain_VBK = config.scale * cosine_VBK
                logits_VBK = config.scale * self._with_margin(cosine_VBK, label_B)
                assignment_VBJ = torch.softmax(config.scale * cosine_VBJ.detach(), dim=-1)
            else:
                plain_VBK = logits_VBK = class_logits(wide_VBE, self.prototypes, self._classes(self.bias_K))
                assignment_VBJ = torch.softmax(plain_VBK.detach(), dim=-1)
            label_N = label_B.repeat(len(student_VBE))
            total = cross_entropy(logits_VBK.flatten(0, 1), label_N)
            with torch.no_grad():
                right_N = plain_VBK.flatten(0, 1).argmax(-1) == label_N
                terms = {
                    "ce": cross_entropy(plain_VBK.flatten(0, 1), label_N),
                    "error": 1.0 - right_N.to(total.dtype).mean(),
                }
        return LossTerms(
            total,
            terms,
            assignment_VBJ.flatten(0, 1),
            embedding_VBD.detach().flatten(0, 1),
            own_1BE.flatten(0, 1),
        )

    def _with_margin(self, cosine_VBK: Tensor, label_B: Tensor) -> Tensor:
        """The margin that is due, on the own class and against the nearest others."""
        config = self.config
        moved = with_margin if config.head == "aam" else with_additive_margin
        if 0 < config.long_start_step <= self._updates:
            return moved(cosine_VBK, label_B, config.long_margin)

        def due(margin: float) -> float:
            return scheduled_margin(
                margin,
                self._updates,
                start=config.margin_start_step,
                warmup=config.margin_warmup_steps,
            )

        own_VBK = moved(cosine_VBK, label_B, due(config.margin))
        if not config.nearest:
            return own_VBK
        return with_nearest_penalty(own_VBK, label_B, config.nearest, due(config.nearest_margin))

    def example(self, num_samples: int) -> Tensor:
        """See `Objective.example`; features that the data bring along are of silence, too."""
        if not isinstance(self.features, GivenFeatures):
            return super().example(num_samples)
        front_end = self.features.front_end
        mel_2FT = torch.zeros(2, front_end.num_mels, front_end.num_frames(num_samples))
        features: Tensor = self.features(mel_2FT.to(self.prototypes.device))
        return features

    @torch.no_grad()
    def average_logits(self, embedding_BD: Tensor) -> Tensor:
        """Logits (B, K) that the EMA's classifier gives the EMA's embeddings (B, D)."""
        head = self.teacher.head
        was_training = head.training
        projection_BE = head.eval()(embedding_BD)
        head.train(was_training)
        classes, weight_JE = self.classifier
        return class_logits(projection_BE, weight_JE, classes)

    def set_prototypes(self, prototypes_KE: Tensor) -> None:
        """Overwrite the weights of the classifier, those of its EMA too."""
        super().set_prototypes(prototypes_KE)
        self.average_JE.copy_(prototypes_KE)

    @torch.no_grad()
    def set_bias(self, bias_K: Tensor) -> None:
        """Overwrite the bias of a ``linear`` or ``mlp`` classifier, that of its EMA too."""
        assert self.bias_K is not None and self.average_bias_K is not None
        self.bias_K.copy_(bias_K)
        self.average_bias_K.copy_(bias_K)

    def after_step(self, momentum: float, terms: LossTerms) -> None:
        """Update the EMA of network and classifier."""
        super().after_step(momentum, terms)
        averages = [one for one in (self.average_JE, self.average_bias_K) if one is not None]
        sources = [one for one in (self.prototypes, self.bias_K) if one is not None]
        self._update_averages(averages, sources, momentum)
        self._updates += 1

    def exported(self) -> dict[str, Tensor]:
        """What is exported: the tensors of the EMA, by name (no copies)."""
        state: dict[str, Tensor] = {
            f"teacher.{name}": value for name, value in self.teacher.state_dict().items()
        }
        state["average_JE"] = self.average_JE
        if self.average_bias_K is not None:
            state["average_bias_K"] = self.average_bias_K
        return state

    @torch.no_grad()
    def load_exported(self, state: dict[str, Tensor]) -> None:
        """Overwrite what `exported` returns."""
        for name, value in self.exported().items():
            value.copy_(state[name])

    def get_extra_state(self) -> dict[str, Any]:
        """The number of updates, which the margin depends on, and the class names, for ``state_dict``."""
        return {"updates": self._updates, "classes": list(self.names)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the result of `get_extra_state`."""
        self._updates = int(state["updates"])
