"""Distillation of a foreign, usually larger model into a student, on unlabelled speech.

The teacher embeds every utterance, clean and whole, before training (`sdpn.distill.targets`); the student is
trained on short, augmented crops. The loss has three weighted terms: the cosine to the teacher's embedding,
the teacher's similarities between utterances of the batch, and its assignment of utterances to prototypes.
The prototypes are in the teacher's embedding space and are trained with the student, as in SDPN. The exported
model is an EMA of the student.

Shapes: B batch, V crops, D student embedding, E teacher embedding, K prototypes.

Sources: relational distillation, arXiv 1904.05068 and 2003.05491 (in-batch similarities as distributions);
prototypes and balanced assignment, arXiv 2308.02774.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sdpn.data.crops import CropBatch
from sdpn.distill import losses
from sdpn.distill.assignment import assign
from sdpn.distill.base import LossTerms, Projections, SelfDistillation, cosine_logits
from sdpn.distill.targets import Targets
from sdpn.models.embedder import Precision


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """The teacher and the terms of the objective.

    Attributes:
        teacher: teacher model, of any format that ``--model`` supports.
        teacher_format: format of the teacher, if its files do not determine it.
        teacher_precision: precision of the teacher's network. ``bf16`` takes half the time where the
            processor supports it. Unlike in ``sdpn extract``, it is not chosen by timing, so that runs are
            reproducible.
        cache: folder for the teacher's embeddings, which several runs can share; None is ``EXP/teacher``.
        subtract_mean: subtract the mean of the teacher's embeddings, which carries no speaker information.
        cosine_weight: weight of 1 − cosine between the student's and the teacher's embedding.
        relation_weight: weight of the KL divergence between the teacher's and the student's similarity
            distributions over the other utterances of the batch.
        relation_temperature: divides the cosines between utterances before the softmax.
        prototype_weight: weight of the cross-entropy with the teacher's assignment to prototypes; with 0,
            prototypes are still trained but do not affect the student.
        num_prototypes: number K of prototypes.
        temperature: temperature τ of the cosines to prototypes.
        sharpening: T, makes the teacher's assignment sharper than the student's prediction.
        sinkhorn_iterations: Sinkhorn iterations that balance the assignment over the batch; 0 disables
            balancing.
    """

    teacher: Path | None = None
    teacher_format: str | None = None
    teacher_precision: Precision = "fp32"
    cache: Path | None = None
    subtract_mean: bool = True
    cosine_weight: float = 1.0
    relation_weight: float = 0.3
    relation_temperature: float = 0.1
    prototype_weight: float = 0.1
    num_prototypes: int = 1024
    temperature: float = 0.1
    sharpening: float = 0.5
    sinkhorn_iterations: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        if min(self.cosine_weight, self.relation_weight, self.prototype_weight) < 0:
            raise ValueError("cosine_weight, relation_weight and prototype_weight must not be negative")
        if not self.cosine_weight + self.relation_weight + self.prototype_weight:
            raise ValueError("one of cosine_weight, relation_weight and prototype_weight must be positive")
        if min(self.relation_temperature, self.temperature, self.sharpening) <= 0:
            raise ValueError("relation_temperature, temperature and sharpening must be positive")
        if self.num_prototypes < 2 or self.sinkhorn_iterations < 0:
            raise ValueError("num_prototypes must be at least 2, sinkhorn_iterations not negative")


class Distill(SelfDistillation):
    """Student, its EMA, and prototypes in the teacher's embedding space.

    The EMA takes the place of the teacher of other objectives but processes no training data: its batch-norm
    statistics are always the student's, regardless of ``teacher.batch_norm``.

    Args:
        student: see `SelfDistillation`; its projections must have the dimension of the teacher's embeddings,
            if necessary through a linear head, which is not exported with the encoder.
        average: the EMA of the student; None copies the student.
        targets: the teacher's embeddings.
        config: settings of the objective; None for the defaults.
        features: see `SelfDistillation`.

    Raises:
        ValueError: as there, or projections and the teacher's embeddings differ in dimension.
    """

    def __init__(
        self,
        student: nn.Module,
        average: nn.Module | None,
        targets: Targets,
        *,
        config: DistillConfig | None = None,
        features: nn.Module | None = None,
    ) -> None:
        config = config or DistillConfig()
        super().__init__(student, average, config.num_prototypes, features=features, batch_norm="student")
        self.config = config
        #: Not a buffer: checkpoints do not contain it, and DDP does not broadcast it.
        self.targets = targets.centred() if config.subtract_mean else targets
        if self.student.projection_dim != targets.embedding_dim:
            raise ValueError(
                f"the student projects to {self.student.projection_dim} dimensions, the teacher embeds in "
                f"{targets.embedding_dim}"
            )

    def project(self, batch: CropBatch) -> Projections:
        """The teacher's embeddings of the utterances, and forward pass of the student on their crops."""
        if self.targets.rows_SNE.device != batch.utterance_B.device:
            self.targets = self.targets.to(batch.utterance_B.device)
        target_BE = self.targets.of(batch)
        embedding_VBD, student_VBE = self.forward_branch(self.student, batch.local_VBS, batch.erasure_VB4)
        return Projections(target_BE.unsqueeze(0), student_VBE, embedding_VBD, batch.utterance_B)

    def objective(self, projections: Projections) -> LossTerms:
        """Weighted cosine, relation and prototype terms over the utterances with a teacher embedding."""
        config = self.config
        target_1BE, student_VBE, embedding_VBD, _ = projections
        available_B = target_1BE[0].abs().amax(-1) > 0
        if not available_B.all():
            target_1BE, student_VBE = target_1BE[:, available_B], student_VBE[:, available_B]
        with torch.autocast(student_VBE.device.type, enabled=False):
            teacher_BE, student_unit_VBE = losses.direction(target_1BE[0]), losses.direction(student_VBE)
            with torch.no_grad():
                teacher_BK = cosine_logits(target_1BE[0], self.prototypes, config.temperature)
                targets_BK = assign(
                    teacher_BK, sharpening=config.sharpening, iterations=config.sinkhorn_iterations
                )
            # with weight 0 only the prototypes are trained, for the guards and the dashboard
            projection_VBE = student_VBE if config.prototype_weight else student_VBE.detach()
            log_student_VBK = torch.log_softmax(
                cosine_logits(projection_VBE, self.prototypes, config.temperature), dim=-1
            )
            terms = {
                "ce": losses.cross_entropy(log_student_VBK, targets_BK),
                "cosine": (1 - (student_unit_VBE * teacher_BE).sum(-1)).mean(),
                "relation": relation(student_unit_VBE, teacher_BE, config.relation_temperature),
            }
            total = (
                (config.prototype_weight or 1.0) * terms["ce"]
                + config.cosine_weight * terms["cosine"]
                + config.relation_weight * terms["relation"]
            )
        return LossTerms(
            total,
            {name: term.detach() for name, term in terms.items()},
            torch.softmax(teacher_BK / config.sharpening, dim=-1),
            embedding_VBD.detach().flatten(0, 1),
            target_1BE.flatten(0, 1),
        )


def relation(student_VBE: Tensor, teacher_BE: Tensor, temperature: float) -> Tensor:
    """Mean KL divergence between similarity distributions over the other utterances of the batch.

    The student's crops, too, are compared with the teacher's embeddings of the other utterances, so that both
    distributions are over the same embeddings.

    Args:
        student_VBE: (V, B, E), unit length.
        teacher_BE: (B, E), unit length.
        temperature: divides cosines.

    Returns:
        scalar; 0 for fewer than three utterances.
    """
    if len(teacher_BE) < 3:
        return student_VBE.sum() * 0.0
    own_BB = torch.eye(len(teacher_BE), dtype=torch.bool, device=teacher_BE.device)
    others = -1e4  # not −inf: the difference of two must not be NaN

    def log_shares(rows: Tensor) -> Tensor:
        return torch.log_softmax((rows @ teacher_BE.T / temperature).masked_fill(own_BB, others), dim=-1)

    teacher_log_BB, student_log_VBB = log_shares(teacher_BE), log_shares(student_VBE)
    return (teacher_log_BB.exp() * (teacher_log_BB - student_log_VBB)).sum(-1).mean()
