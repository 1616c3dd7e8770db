"""Training on pseudo-labels: classification of clusters, with a gate for unreliable labels.

The second stage of two-stage systems. The classes are clusters of the first network's embeddings; the
prototypes are the class centres in the embedding space. The teacher, an EMA of the student, corrects labels
and is the exported model.

Shapes: B batch, G/V global/local crops, D embedding, K classes, N utterances of the training data.

Sources: AAM-softmax, arXiv 1801.07698; loss-gated learning, 2110.03869; label correction, 2208.01928.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from sdpn.distill.base import LossTerms, Projections, SelfDistillation, cosine_logits
from sdpn.distill.gate import LossGate
from sdpn.distill.labels import Labels
from sdpn.distill.margin import scheduled_margin, with_margin


@dataclass(frozen=True, kw_only=True)
class PseudoConfig:
    """Classification of clusters. Usual for speakers: margin 0.2, scale 32.

    Attributes:
        labels: file of ``utterance cluster`` lines covering every utterance of the data.
        scale: scale s of the cosines.
        margin: angular margin m in radians.
        margin_warmup_steps: steps of linear increase of the margin from 0.
        above_gate: treatment of utterances whose loss is above the gate. ``keep``: used as all others, so
            there is no gate. ``discard``: not used. ``correct``: relabelled by the teacher's prediction for
            the clean crops if the teacher is confident, else not used.
        gate: ``fitted`` sets the gate in every epoch by a mixture of two Gaussians over the losses; a number
            is a fixed gate in nats.
        gate_epochs: epochs before the gate is applied.
        confidence: probability of the top class from which the teacher counts as confident.
        sharpening: T, sharpens the teacher's prediction before it is used as a label.
    """

    labels: Path | None = None
    scale: float = 32.0
    margin: float = 0.2
    margin_warmup_steps: int = 100
    above_gate: Literal["keep", "discard", "correct"] = "correct"
    gate: float | Literal["fitted"] = "fitted"
    gate_epochs: float = 2.0
    confidence: float = 0.8
    sharpening: float = 0.5

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.scale <= 0 or self.sharpening <= 0:
            raise ValueError("scale and sharpening must be positive")
        if not 0 <= self.margin < 1.5:
            raise ValueError("margin must lie in [0, 1.5)")
        if self.margin_warmup_steps < 0 or self.gate_epochs < 0:
            raise ValueError("margin_warmup_steps and gate_epochs must not be negative")
        if isinstance(self.gate, float) and self.gate <= 0:
            raise ValueError("gate must be positive")
        if not 0 <= self.confidence <= 1:
            raise ValueError("confidence must lie in [0, 1]")


class Pseudo(SelfDistillation):
    """Student, teacher and class centres.

    Args:
        student: see `SelfDistillation`; without a head, since class centres are in the embedding space.
        teacher: see `SelfDistillation`.
        labels: the pseudo-labels; each class has a prototype.
        config: settings of the objective; None for the defaults.
        features: see `SelfDistillation`.
        batch_norm: see `SelfDistillation`.
    """

    label_N: Tensor

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None,
        labels: Labels,
        *,
        config: PseudoConfig | None = None,
        features: nn.Module | None = None,
        batch_norm: Literal["own", "student"] = "own",
    ) -> None:
        super().__init__(student, teacher, labels.num_classes, features=features, batch_norm=batch_norm)
        self.config = config = config or PseudoConfig()
        self.register_buffer("label_N", labels.label_N)
        fixed = None if config.gate == "fitted" else config.gate
        self.gate = LossGate(len(labels.label_N), fixed=fixed, epochs=config.gate_epochs)
        self._updates = 0

    def objective(self, projections: Projections) -> LossTerms:
        """AAM-softmax for accepted labels, cross-entropy with the teacher's prediction for corrected ones."""
        config = self.config
        teacher_GBD, student_VBD, _, utterance_B = projections
        with torch.autocast(student_VBD.device.type, enabled=False):
            label_B = self.label_N[utterance_B]
            with torch.no_grad():
                teacher_GBK = cosine_logits(teacher_GBD, self.prototypes, 1 / config.scale)
                teacher_BK = torch.softmax(teacher_GBK, dim=-1).mean(0)
            cosine_VBK = cosine_logits(student_VBD, self.prototypes, 1.0)
            log_plain_VBK = torch.log_softmax(config.scale * cosine_VBK, dim=-1)
            margin = scheduled_margin(config.margin, self._updates, warmup=config.margin_warmup_steps)
            log_margin_VBK = torch.log_softmax(
                config.scale * with_margin(cosine_VBK, label_B, margin), dim=-1
            )
            aam_B = _negative_log(log_margin_VBK, label_B)
            # without the margin, since its warm-up would shift all losses relative to the gate
            plain_B = _negative_log(log_plain_VBK, label_B)
            accepted_B, corrected_B = self._gate_labels(plain_B.detach(), teacher_BK)
            target_BK = torch.softmax(teacher_BK.clamp(min=1e-12).log() / config.sharpening, dim=-1)
            soft_B = -(target_BK * log_plain_VBK).sum(-1).mean(0)
            used_B = accepted_B | corrected_B
            loss_B = torch.where(accepted_B, aam_B, torch.where(corrected_B, soft_B, 0.0))
            total = loss_B.sum() / used_B.sum().clamp(min=1)
        terms = {
            "ce": plain_B.mean(),
            "believed": accepted_B.to(plain_B.dtype).mean(),
            "corrected": corrected_B.to(plain_B.dtype).mean(),
            "teacher_agrees": (teacher_BK.argmax(-1) == label_B).to(plain_B.dtype).mean(),
        }
        return LossTerms(
            total,
            {name: term.detach() for name, term in terms.items()},
            torch.softmax(teacher_GBK, dim=-1).flatten(0, 1),
            student_VBD.detach().flatten(0, 1),
            teacher_GBD.flatten(0, 1),
            (utterance_B, plain_B.detach()),
        )

    def _gate_labels(self, loss_B: Tensor, teacher_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Masks (B,) of utterances with an accepted and with a corrected label."""
        if self.config.above_gate == "keep":
            return torch.ones_like(loss_B, dtype=torch.bool), torch.zeros_like(loss_B, dtype=torch.bool)
        accepted_B = self.gate.accepts(loss_B)
        if self.config.above_gate == "discard":
            return accepted_B, torch.zeros_like(accepted_B)
        return accepted_B, ~accepted_B & (teacher_BK.amax(-1) >= self.config.confidence)

    def after_step(self, momentum: float, terms: LossTerms) -> None:
        """Update the teacher and the gate."""
        super().after_step(momentum, terms)
        assert terms.utterance_losses is not None
        self.gate.observe(*terms.utterance_losses)
        self._updates += 1

    def get_extra_state(self) -> dict[str, Any]:
        """Return the number of updates, which the margin warm-up depends on, for ``state_dict``."""
        return {"updates": self._updates}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the result of `get_extra_state`."""
        self._updates = int(state["updates"])


def _negative_log(log_VBK: Tensor, label_B: Tensor) -> Tensor:
    """Mean over views of −log p of the label, (B,)."""
    rows_NK = log_VBK.flatten(0, 1)
    labels_N = label_B.repeat(len(log_VBK))
    return nll_loss(rows_NK, labels_N, reduction="none").view(log_VBK.shape[:2]).mean(0)
