"""The Self-Distillation Prototypes Network: student, EMA teacher and prototypes in one module.

Everything that training changes is a parameter or buffer of `SDPN`, the prototypes included: they are in
``parameters()``, so the optimizer updates and clips them, DDP averages them and ``state_dict`` holds them.

Shapes: B batch, G/V global/local crops, S samples, D embedding, E projection, K prototypes.

Source: arXiv 2308.02774.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from sdpn.data.crops import CropBatch
from sdpn.data.features import FeatureConfig, LogMel
from sdpn.distill import losses
from sdpn.distill.assignment import assign
from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.heads import HeadConfig, ProjectionHead


@dataclass(frozen=True, kw_only=True)
class SDPNConfig:
    """The objective. Published: K = 1024, τ = 0.1, T = 0.25, 3 iterations, weights 1 and 0.1, m = 0.996 → 1.

    Attributes:
        num_prototypes: number K of prototypes.
        temperature: τ, divides the cosine between projection and prototype.
        sharpening: T, makes the teacher's assignment sharper than the student's prediction.
        sinkhorn_iterations: balancing steps over the batch; 0 switches balancing off.
        memax_weight: weight of the me-max term.
        koleo_weight: weight of the KoLeo term.
        koleo_floor: distance below which two embeddings count as one.
        momentum: EMA momentum m of the teacher at the first step; it rises to ``final_momentum`` as a cosine.
            0.996 has a time constant of 250 steps: too slow for runs of a thousand.
        final_momentum: m at the last step.
        teacher_batch_norm: where the teacher's batch-norm statistics come from. ``own``: it normalises by the
            batch it sees (clean, long crops: what it is used on later) and keeps running averages of that.
            ``student``: it normalises by, and exports, the student's running averages.
    """

    num_prototypes: int = 256
    temperature: float = 0.1
    sharpening: float = 0.25
    sinkhorn_iterations: int = 3
    memax_weight: float = 1.0
    koleo_weight: float = 0.1
    koleo_floor: float = 1e-4
    momentum: float = 0.99
    final_momentum: float = 1.0
    teacher_batch_norm: Literal["own", "student"] = "own"

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.num_prototypes < 2:
            raise ValueError("num_prototypes must be at least 2")
        if self.temperature <= 0 or self.sharpening <= 0 or self.koleo_floor <= 0:
            raise ValueError("temperature, sharpening and koleo_floor must be positive")
        if self.sinkhorn_iterations < 0 or self.memax_weight < 0 or self.koleo_weight < 0:
            raise ValueError("sinkhorn_iterations, memax_weight and koleo_weight must not be negative")
        if not 0 <= self.momentum <= self.final_momentum <= 1:
            raise ValueError("0 <= momentum <= final_momentum <= 1 is needed")


class LossTerms(NamedTuple):
    """The objective and what it is made of.

    Attributes:
        total: scalar to minimise.
        terms: its unweighted parts by name, detached.
        usage_K: share of the teacher's assignments before balancing that each prototype gets, (K,).
        embedding_ND: student embeddings of all views, detached.
    """

    total: Tensor
    terms: dict[str, Tensor]
    usage_K: Tensor
    embedding_ND: Tensor


class Branch(nn.Module):
    """Encoder and projection head: features to embeddings (D) and projections (E)."""

    def __init__(self, encoder: Ecapa, head: ProjectionHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, features_BFT: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, D) and projections (B, E)."""
        embedding_BD = self.encoder(features_BFT)
        return embedding_BD, self.head(embedding_BD)


class SDPN(nn.Module):
    """Student, teacher and prototypes, and the objective that trains them."""

    def __init__(
        self, config: SDPNConfig, *, encoder: EcapaConfig, head: HeadConfig, features: FeatureConfig
    ) -> None:
        super().__init__()
        self.config = config
        self.features = LogMel(features)
        trunk = Ecapa(encoder, features.num_mels)
        self.student = Branch(trunk, ProjectionHead(head, trunk.embedding_dim))
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        bound = 1 / math.sqrt(head.projection_dim)
        self.prototypes = nn.Parameter(
            torch.empty(config.num_prototypes, head.projection_dim).uniform_(-bound, bound)
        )

    def forward(self, batch: CropBatch) -> LossTerms:
        """Compute the objective on a batch of crops.

        With several global crops, every local crop is compared with each of them.
        """
        teacher_GBK = self._teacher_logits(batch.global_GBS)
        num_views, num_utterances, num_samples = batch.local_VBS.shape
        features = self.features(batch.local_VBS.reshape(-1, num_samples))
        embedding_ND, projection_NE = self.student(features)
        return self.objective(
            teacher_GBK,
            self.logits(projection_NE).view(num_views, num_utterances, -1),
            embedding_ND.view(num_views, num_utterances, -1),
        )

    def objective(self, teacher_GBK: Tensor, student_VBK: Tensor, embedding_VBD: Tensor) -> LossTerms:
        """Cross-entropy + me-max + KoLeo from logits and student embeddings (arXiv 2308.02774, eq. 4-7)."""
        config = self.config
        log_student_VBK = torch.log_softmax(student_VBK, dim=-1)
        ce = torch.stack(
            [
                losses.cross_entropy(
                    log_student_VBK,
                    assign(logits_BK, sharpening=config.sharpening, iterations=config.sinkhorn_iterations),
                )
                for logits_BK in teacher_GBK
            ]
        ).mean()
        memax = losses.mean_entropy_gap(log_student_VBK)
        koleo = losses.koleo(embedding_VBD, floor=config.koleo_floor)
        total = ce + config.memax_weight * memax + config.koleo_weight * koleo
        with torch.no_grad():
            usage_K = torch.softmax(teacher_GBK / config.sharpening, dim=-1).mean((0, 1))
        return LossTerms(
            total,
            {"ce": ce.detach(), "memax": memax.detach(), "koleo": koleo.detach()},
            usage_K,
            embedding_VBD.detach().flatten(0, 1),
        )

    def logits(self, projection_NE: Tensor) -> Tensor:
        """Cosine to every prototype over τ, (N, K), in float32 whatever the network's precision."""
        with torch.autocast(projection_NE.device.type, enabled=False):
            dtype = torch.float64 if projection_NE.dtype == torch.float64 else torch.float32
            unit_NE = normalize(projection_NE.to(dtype), dim=-1)
            return unit_NE @ normalize(self.prototypes.to(dtype), dim=-1).T / self.config.temperature

    @torch.no_grad()
    def _teacher_logits(self, global_GBS: Tensor) -> Tensor:
        self.teacher.train(self.training and self.config.teacher_batch_norm == "own")
        features = self.features(global_GBS.flatten(0, 1))
        _, projection_NE = self.teacher(features)
        return self.logits(projection_NE).view(*global_GBS.shape[:2], -1)

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """Move the teacher: teacher ← m · teacher + (1 − m) · student, in one fused call."""
        torch._foreach_lerp_(list(self.teacher.parameters()), list(self.student.parameters()), 1.0 - momentum)
        if self.config.teacher_batch_norm == "student":
            for own, other in zip(self.teacher.buffers(), self.student.buffers(), strict=True):
                own.copy_(other)
