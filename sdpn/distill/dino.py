"""The DINO objective, as a baseline for SDPN: centred teacher outputs instead of balanced assignments.

Shapes: B batch, G/V global/local crops, E projection, K prototypes.

Source: DINO (arXiv 2104.14294); for speakers RDINO (arXiv 2211.04168) and WeSpeaker's recipe.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from sdpn.distill import losses
from sdpn.distill.base import LossTerms, Projections, SelfDistillation, cosine_logits


@dataclass(frozen=True, kw_only=True)
class DINOConfig:
    """The objective. Published: K = 65,536, τ 0.1 and 0.04, centre momentum 0.9.

    Attributes:
        num_prototypes: outputs K of the last, linear layer: its weight-normalised rows are the prototypes.
        temperature: temperature of the student.
        teacher_temperature: temperature of the teacher; lower is sharper.
        centre_momentum: momentum of the running mean that is subtracted from the teacher's outputs.
    """

    num_prototypes: int = 256
    temperature: float = 0.1
    teacher_temperature: float = 0.04
    centre_momentum: float = 0.9

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.num_prototypes < 2:
            raise ValueError("num_prototypes must be at least 2")
        if self.temperature <= 0 or self.teacher_temperature <= 0:
            raise ValueError("temperature and teacher_temperature must be positive")
        if not 0 <= self.centre_momentum < 1:
            raise ValueError("centre_momentum must lie in [0, 1)")


class DINO(SelfDistillation):
    """Student and teacher, each with its own prototypes; those of the teacher are an EMA, too.

    Args:
        student: see `SelfDistillation`.
        teacher: see `SelfDistillation`.
        num_prototypes: K; overrides that of ``config``.
        config: settings of the objective; None for the defaults.
        features: see `SelfDistillation`.
        batch_norm: see `SelfDistillation`.
    """

    centre_K: Tensor

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None,
        num_prototypes: int,
        *,
        config: DINOConfig | None = None,
        features: nn.Module | None = None,
        batch_norm: Literal["own", "student"] = "own",
    ) -> None:
        super().__init__(student, teacher, num_prototypes, features=features, batch_norm=batch_norm)
        self.config = replace(config or DINOConfig(), num_prototypes=num_prototypes)
        self.teacher_prototypes = nn.Parameter(self.prototypes.detach().clone(), requires_grad=False)
        self.register_buffer("centre_K", torch.zeros(num_prototypes))

    def objective(self, projections: Projections) -> LossTerms:
        """Cross-entropy between centred teacher and student (arXiv 2104.14294, eq. 1-4)."""
        config = self.config
        teacher_GBE, student_VBE, embedding_VBD, _ = projections
        with torch.autocast(student_VBE.device.type, enabled=False):
            with torch.no_grad():
                outputs_GBK = cosine_logits(teacher_GBE, self.teacher_prototypes, 1.0)
                centred_GBK = outputs_GBK - self.centre_K
                targets_GBK = torch.softmax(centred_GBK / config.teacher_temperature, dim=-1)
            log_student_VBK = torch.log_softmax(
                cosine_logits(student_VBE, self.prototypes, config.temperature), dim=-1
            )
            total = losses.cross_entropy_over_crops(log_student_VBK, targets_GBK)
        return LossTerms(
            total,
            {"ce": total.detach()},
            targets_GBK.flatten(0, 1),
            embedding_VBD.detach().flatten(0, 1),
            teacher_GBE.flatten(0, 1),
        )

    @torch.no_grad()
    def set_prototypes(self, prototypes_KE: Tensor) -> None:
        """Overwrite the prototypes of student and teacher."""
        super().set_prototypes(prototypes_KE)
        self.teacher_prototypes.copy_(prototypes_KE)

    @torch.no_grad()
    def after_step(self, momentum: float, terms: LossTerms) -> None:
        """Update the centre (eq. 4), then the teacher and its prototypes."""
        outputs_NK = cosine_logits(terms.teacher_NE, self.teacher_prototypes, 1.0)
        self.centre_K.lerp_(outputs_NK.mean(0).to(self.centre_K.dtype), 1 - self.config.centre_momentum)
        super().after_step(momentum, terms)
        self._update_averages([self.teacher_prototypes], [self.prototypes], momentum)
