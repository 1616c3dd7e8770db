"""The objective of the Self-Distillation Prototypes Network.

The student predicts, from short augmented crops, the teacher's balanced assignment of a long clean crop to
prototypes. Student and teacher share the prototypes.

Shapes: B batch, G/V global/local crops, E projection, K prototypes.

Source: arXiv 2308.02774.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from sdpn.distill import losses
from sdpn.distill.assignment import assign
from sdpn.distill.base import LossTerms, Projections, SelfDistillation, cosine_logits
from sdpn.distill.positives import PositiveMemory
from sdpn.distill.queue import TeacherQueue


@dataclass(frozen=True, kw_only=True)
class SDPNConfig:
    """The objective. Published: K = 1024, τ = 0.1, T = 0.25, 3 iterations, weights 1 and 0.1.

    Attributes:
        num_prototypes: number K of prototypes.
        temperature: temperature τ of the cosines between projections and prototypes.
        sharpening: T, makes the teacher's assignment sharper than the student's prediction.
        sinkhorn_iterations: Sinkhorn iterations that balance the assignment over the batch; 0 disables
            balancing.
        queue_size: number of recent teacher projections that are balanced together with the batch; 0 balances
            the batch alone (published). Helps if the batch is small compared with K (SwAV, arXiv 2006.09882,
            section 4.1).
        positive_memory: number of recent utterances whose projections may take the place of an utterance's
            own, as positives from other recordings (`sdpn.distill.positives`); 0 for none (published).
        positive_neighbours: such a positive is drawn from so many nearest ones.
        positive_share: share of the utterances that get one.
        positive_step: step from which on they do.
        memax_weight: weight of the me-max term.
        koleo_weight: weight of the KoLeo term.
        koleo_floor: minimum distance in the KoLeo term; closer embeddings contribute a constant.
        dimension_weight: weight of the dimension regulariser (arXiv 2505.13826); 0 disables it.
        dimension_kind: form of that regulariser: ``frobenius`` (the better one in the paper) or
            ``off-diagonal``.
    """

    num_prototypes: int = 256
    temperature: float = 0.1
    sharpening: float = 0.25
    sinkhorn_iterations: int = 3
    queue_size: int = 0
    positive_memory: int = 0
    positive_neighbours: int = 1
    positive_share: float = 0.5
    positive_step: int = 500
    memax_weight: float = 1.0
    koleo_weight: float = 0.1
    koleo_floor: float = 1e-4
    dimension_weight: float = 0.0
    dimension_kind: Literal["frobenius", "off-diagonal"] = "frobenius"

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.num_prototypes < 2:
            raise ValueError("num_prototypes must be at least 2")
        if self.temperature <= 0 or self.sharpening <= 0 or self.koleo_floor <= 0:
            raise ValueError("temperature, sharpening and koleo_floor must be positive")
        if min(self.sinkhorn_iterations, self.queue_size) < 0:
            raise ValueError("sinkhorn_iterations and queue_size must not be negative")
        if min(self.positive_memory, self.positive_step) < 0 or not 0 < self.positive_share <= 1:
            raise ValueError(
                "positive_memory and positive_step must not be negative, positive_share must lie in (0, 1]"
            )
        if self.positive_neighbours < 1 or 0 < self.positive_memory < self.positive_neighbours:
            raise ValueError("positive_neighbours must lie between 1 and positive_memory")
        if min(self.memax_weight, self.koleo_weight, self.dimension_weight) < 0:
            raise ValueError("memax_weight, koleo_weight and dimension_weight must not be negative")


class SDPN(SelfDistillation):
    """SDPN: student and teacher with shared prototypes, and the objective.

    >>> network = SDPN(encoder, None, num_prototypes=1024)      # any nn.Module: features to embeddings
    >>> terms = network(CropBatch(global_crops, local_crops, utterance_indices))
    >>> terms.total.backward(); optimizer.step(); network.after_step(0.996, terms)

    Args:
        student: see `SelfDistillation`.
        teacher: see `SelfDistillation`.
        num_prototypes: K; overrides that of ``config``.
        config: settings of the objective; None for the defaults.
        features: see `SelfDistillation`.
        batch_norm: see `SelfDistillation`.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None,
        num_prototypes: int,
        *,
        config: SDPNConfig | None = None,
        features: nn.Module | None = None,
        batch_norm: Literal["own", "student"] = "own",
    ) -> None:
        super().__init__(student, teacher, num_prototypes, features=features, batch_norm=batch_norm)
        self.config = replace(config or SDPNConfig(), num_prototypes=num_prototypes)
        projection_dim = self.prototypes.shape[1]
        self.queue = TeacherQueue(self.config.queue_size, projection_dim)
        self.memory = (
            PositiveMemory(
                self.config.positive_memory,
                projection_dim,
                neighbours=self.config.positive_neighbours,
                share=self.config.positive_share,
                first_step=self.config.positive_step,
            )
            if self.config.positive_memory
            else None
        )

    def objective(self, projections: Projections) -> LossTerms:
        """Cross-entropy + me-max + KoLeo (arXiv 2308.02774, eq. 4-7), optionally a dimension regulariser."""
        own_GBE, student_VBE, embedding_VBD, utterance_B = projections
        with torch.autocast(student_VBE.device.type, enabled=False):
            teacher_GBE = own_GBE
            if self.memory is not None:
                with torch.no_grad():
                    teacher_GBE = torch.stack([self.memory.positives(one, utterance_B) for one in own_GBE])
            total, terms, assignment_GBK = sdpn_terms(
                self.config,
                teacher_GBE=teacher_GBE,
                student_VBE=student_VBE,
                embedding_VBD=embedding_VBD,
                queue_QE=self.queue.rows(),
                prototypes_KE=self.prototypes,
            )
        return LossTerms(
            total,
            terms,
            assignment_GBK.flatten(0, 1),
            embedding_VBD.detach().flatten(0, 1),
            own_GBE.flatten(0, 1),
            utterance_B=utterance_B,
        )

    def after_step(self, momentum: float, terms: LossTerms) -> None:
        """Update the teacher and keep its projections (of all processes, so that all memories are equal)."""
        super().after_step(momentum, terms)
        self.queue.push(terms.teacher_NE)
        if self.memory is not None:
            assert terms.utterance_B is not None
            self.memory.push(terms.teacher_NE[: len(terms.utterance_B)], terms.utterance_B)


def sdpn_terms(
    config: SDPNConfig,
    *,
    teacher_GBE: Tensor,
    student_VBE: Tensor,
    embedding_VBD: Tensor,
    queue_QE: Tensor,
    prototypes_KE: Tensor,
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """The objective of rows of projections, outside of autocast.

    Args:
        config: its settings.
        teacher_GBE: the teacher's, of global crops.
        student_VBE: the student's, of local crops.
        embedding_VBD: the student's embeddings.
        queue_QE: earlier rows of the teacher, balanced together with these.
        prototypes_KE: the prototypes.

    Returns:
        the scalar to minimise, its unweighted terms, detached, and the teacher's distributions before
        balancing, (G, B, K).
    """
    with torch.no_grad():
        teacher_GBK = cosine_logits(teacher_GBE, prototypes_KE, config.temperature)
        queue_QK = cosine_logits(queue_QE, prototypes_KE, config.temperature)
        num_utterances = teacher_GBK.shape[1]
        targets_GBK = [
            assign(
                torch.cat([logits_BK, queue_QK.to(logits_BK.dtype)]),
                sharpening=config.sharpening,
                iterations=config.sinkhorn_iterations,
            )[:num_utterances]
            for logits_BK in teacher_GBK
        ]
        assignment_GBK = torch.softmax(teacher_GBK / config.sharpening, dim=-1)
    log_student_VBK = torch.log_softmax(cosine_logits(student_VBE, prototypes_KE, config.temperature), dim=-1)
    ce = losses.cross_entropy_over_crops(log_student_VBK, targets_GBK)
    terms = {
        "ce": ce,
        "memax": losses.mean_entropy_gap(log_student_VBK),
        "koleo": losses.koleo(embedding_VBD, floor=config.koleo_floor),
    }
    total = ce + config.memax_weight * terms["memax"] + config.koleo_weight * terms["koleo"]
    if config.dimension_weight:
        terms["dimension"] = losses.DIMENSION[config.dimension_kind](embedding_VBD)
        total = total + config.dimension_weight * terms["dimension"]
    return total, {name: term.detach() for name, term in terms.items()}, assignment_GBK
