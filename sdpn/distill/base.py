"""What every self-distillation objective shares: student, EMA teacher, prototypes, and how gradients flow.

Everything that training changes is a parameter or buffer of the module, the prototypes included: they are in
``parameters()``, so the optimizer updates and clips them, DDP averages them and ``state_dict`` holds them.

Shapes: B batch, G/V global/local crops, S samples, F mel bins, T frames, D embedding, E projection,
K prototypes, N rows.
"""

from __future__ import annotations

import abc
import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from sdpn.augmentation.erasing import erase
from sdpn.data.crops import CropBatch
from sdpn.distill.gather import gather_batch
from sdpn.distill.losses import direction


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """EMA of the teacher. Published for SDPN: m = 0.996 → 1.

    Attributes:
        momentum: EMA momentum m of the teacher at the first step; it follows a cosine schedule to
            ``final_momentum``. 0.996 has a time constant of 250 steps, too slow for runs of a thousand steps.
        final_momentum: EMA momentum m at the last step.
        batch_norm: batch-norm statistics of the teacher. ``own``: those of its own batches (clean, long
            crops, as in later use) and their running averages. ``student``: the student's running averages,
            which are also exported.
    """

    momentum: float = 0.99
    final_momentum: float = 1.0
    batch_norm: Literal["own", "student"] = "own"

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 <= self.momentum <= self.final_momentum <= 1:
            raise ValueError("0 <= momentum <= final_momentum <= 1 is needed")


class Projections(NamedTuple):
    """What the network says about a batch, and all that an objective looks at.

    Attributes:
        teacher_GBE: the teacher's projections of the global crops, without gradient.
        student_VBE: the student's projections of the local crops.
        embedding_VBD: the student's embeddings of the local crops.
        utterance_B: the place of each utterance in the training data.
    """

    teacher_GBE: Tensor
    student_VBE: Tensor
    embedding_VBD: Tensor
    utterance_B: Tensor

    @staticmethod
    def concatenate(parts: Sequence[Projections]) -> Projections:
        """The parts of a batch as one."""
        teacher, student, embedding, utterance = zip(*parts, strict=True)
        return Projections(
            torch.cat(teacher, dim=1),
            torch.cat(student, dim=1),
            torch.cat(embedding, dim=1),
            torch.cat(utterance),
        )

    def gathered(self) -> Projections:
        """Those of all processes together."""
        return Projections(
            gather_batch(self.teacher_GBE),
            gather_batch(self.student_VBE),
            gather_batch(self.embedding_VBD),
            gather_batch(self.utterance_B, dim=0),
        )


class LossTerms(NamedTuple):
    """The objective and what it is made of.

    Attributes:
        total: scalar to minimise.
        terms: its unweighted parts by name, detached.
        assignment_NK: the teacher's distributions over prototypes before balancing, (G·B, K), detached.
        embedding_ND: student embeddings of all views, (V·B, D), detached.
        teacher_NE: the teacher's projections, (G·B, E).
        utterance_losses: place of each utterance in the training data and its own loss, (B,) each, where an
            objective keeps them.
    """

    total: Tensor
    terms: dict[str, Tensor]
    assignment_NK: Tensor
    embedding_ND: Tensor
    teacher_NE: Tensor
    utterance_losses: tuple[Tensor, Tensor] | None = None


class Gradients(NamedTuple):
    """Gradients of an objective where network and objective meet.

    Attributes:
        student_VBE: with respect to the student's projections.
        embedding_VBD: with respect to the student's embeddings.
        prototypes_KE: with respect to the prototypes; None where another part of the batch brings them.
    """

    student_VBE: Tensor
    embedding_VBD: Tensor
    prototypes_KE: Tensor | None


class Branch(nn.Module):
    """Encoder and projection head: features to embeddings (D) and projections (E).

    Args:
        encoder: any module that maps features to embeddings (B, D).
        head: maps embeddings to projections (B, E); None leaves them as they are.
        projection_dim: E; None: as head or encoder tell (``projection_dim``, ``out_features``,
            ``embedding_dim``).

    Raises:
        ValueError: neither tells.
    """

    def __init__(
        self, encoder: nn.Module, head: nn.Module | None = None, *, projection_dim: int | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Identity() if head is None else head
        module = encoder if head is None else head
        names = ("projection_dim", "out_features", "embedding_dim")
        sizes = [projection_dim, *(getattr(module, name, None) for name in names)]
        size = next((size for size in sizes if isinstance(size, int)), None)
        if size is None:
            raise ValueError(
                f"{type(module).__name__} does not tell how long its output is; "
                "give Branch(encoder, head, projection_dim=...)"
            )
        self.projection_dim: int = size

    def forward(self, features_BFT: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, D) and projections (B, E)."""
        embedding_BD: Tensor = self.encoder(features_BFT)
        return embedding_BD, self.head(embedding_BD)


class SelfDistillation(nn.Module, abc.ABC):
    """Student, teacher and prototypes; a subclass says what the student learns from the teacher.

    Args:
        student: maps features (B, F, T) to embeddings (B, D): any module, or a `Branch` with a head.
        teacher: one of the same shape, which follows the student; None: a copy of the student.
        num_prototypes: K.
        features: maps crops (B, S) to features; None: the crops of a batch are features already.
        batch_norm: where the teacher's batch-norm statistics come from, see `TeacherConfig`.

    Raises:
        ValueError: teacher and student are not alike, or the same module, or do not tell their sizes.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None,
        num_prototypes: int,
        *,
        features: nn.Module | None = None,
        batch_norm: Literal["own", "student"] = "own",
    ) -> None:
        super().__init__()
        self._batch_norm = batch_norm
        self.features = nn.Identity() if features is None else features
        self.student = _as_branch(student)
        self.teacher = copy.deepcopy(self.student) if teacher is None else _as_branch(teacher)
        _check_alike(self.student, self.teacher)
        self.teacher.requires_grad_(False)
        projection_dim = self.student.projection_dim
        bound = 1 / math.sqrt(projection_dim)
        self.prototypes = nn.Parameter(torch.empty(num_prototypes, projection_dim).uniform_(-bound, bound))

    @abc.abstractmethod
    def objective(self, projections: Projections) -> LossTerms:
        """Compute the objective of a whole batch, in float32 (float64 stays), from its projections."""

    def after_step(self, momentum: float, terms: LossTerms) -> None:  # noqa: ARG002 - subclasses use it
        """Follow an optimizer step: move the teacher, and remember what the objective needs of this batch.

        Args:
            momentum: EMA momentum m.
            terms: what `forward` gave for the step.
        """
        self._update_averages(list(self.teacher.parameters()), list(self.student.parameters()), momentum)
        if self._batch_norm == "student":
            for own, other in zip(self.teacher.buffers(), self.student.buffers(), strict=True):
                own.copy_(other)

    @torch.no_grad()
    def set_prototypes(self, prototypes_KE: Tensor) -> None:
        """Start from given prototypes."""
        self.prototypes.copy_(prototypes_KE)

    def forward(self, batch: CropBatch, given: Gradients | None = None) -> LossTerms:
        """Compute the objective on a batch of crops, over the batches of all processes together.

        Args:
            batch: crops. With several global crops, every local crop is compared with each of them.
            given: gradients that an earlier look at a larger batch has found for these rows. ``total`` is
                then the scalar that has them, and carries no other meaning; there are no terms.
        """
        if given is None:
            return self.objective(self.project(batch).gathered())
        embedding_VBD, student_VBE = self.forward_branch(self.student, batch.local_VBS, batch.erasure_VB4)
        total = (student_VBE * given.student_VBE).sum() + (embedding_VBD * given.embedding_VBD).sum()
        if given.prototypes_KE is not None:
            total = total + (self.prototypes * given.prototypes_KE).sum()
        nothing = total.detach().new_empty(0)
        return LossTerms(total, {}, nothing, nothing, nothing)

    def project(self, batch: CropBatch) -> Projections:
        """Run both networks on a batch of crops of this process."""
        with torch.no_grad():
            # Dropout never reaches the teacher; only its norms look at the batch.
            own_statistics = self.training and self._batch_norm == "own"
            self.teacher.eval()
            for norm in batch_norms(self.teacher):
                norm.train(own_statistics)
            _, teacher_GBE = self.forward_branch(self.teacher, batch.global_GBS)
        embedding_VBD, student_VBE = self.forward_branch(self.student, batch.local_VBS, batch.erasure_VB4)
        return Projections(teacher_GBE, student_VBE, embedding_VBD, batch.utterance_B)

    def forward_branch(
        self, branch: Branch, crops_VBS: Tensor, erasure_VB4: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Embeddings (V, B, D) and projections (V, B, E) of crops, with parts of their features erased."""
        num_views, num_utterances = crops_VBS.shape[:2]
        with torch.autocast(crops_VBS.device.type, enabled=False):  # features are float32 in every precision
            features = self.features(crops_VBS.flatten(0, 1))
            if erasure_VB4 is not None:
                features = erase(features, erasure_VB4.flatten(0, 1))
        embedding_ND, projection_NE = branch(features)
        return (
            embedding_ND.view(num_views, num_utterances, -1),
            projection_NE.view(num_views, num_utterances, -1),
        )

    @staticmethod
    @torch.no_grad()
    def _update_averages(averages: list[Any], sources: list[Any], momentum: float) -> None:
        """Move averages ← m · averages + (1 − m) · sources, in one fused call."""
        torch._foreach_lerp_(averages, sources, 1.0 - momentum)


def _as_branch(module: nn.Module) -> Branch:
    return module if isinstance(module, Branch) else Branch(module)


def _check_alike(student: Branch, teacher: Branch) -> None:
    shapes, others = (
        {name: tensor.shape for name, tensor in [*branch.named_parameters(), *branch.named_buffers()]}
        for branch in (student, teacher)
    )
    if shapes != others:
        raise ValueError("the teacher must have the parameters and buffers of the student")
    own = {id(parameter) for parameter in student.parameters()}
    if any(id(parameter) in own for parameter in teacher.parameters()):
        raise ValueError("the teacher must be a module of its own; None copies the student")


def batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Every batch norm in a module."""
    return [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


def cosine_logits(projection_NE: Tensor, prototypes_KE: Tensor, temperature: float) -> Tensor:
    """Cosine to every prototype over τ, (…, K), in float32 (float64 stays) whatever the input's precision."""
    with torch.autocast(projection_NE.device.type, enabled=False):
        unit_NE = direction(projection_NE)
        return unit_NE @ direction(prototypes_KE).to(unit_NE.dtype).T / temperature
