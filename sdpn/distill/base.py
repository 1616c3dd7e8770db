"""Base of all self-distillation objectives: student, EMA teacher, prototypes and gradient flow.

All trained state, prototypes included, is a parameter or buffer of the module: the optimizer updates and
clips the prototypes, DDP averages their gradients, and ``state_dict`` contains them.

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
    """Network outputs for a batch: the input of an objective.

    Attributes:
        teacher_GBE: the teacher's projections of the global crops, without gradient.
        student_VBE: the student's projections of the local crops.
        embedding_VBD: the student's embeddings of the local crops.
        utterance_B: index of each utterance in the training data.
    """

    teacher_GBE: Tensor
    student_VBE: Tensor
    embedding_VBD: Tensor
    utterance_B: Tensor

    @staticmethod
    def concatenate(parts: Sequence[Projections]) -> Projections:
        """Concatenate the parts of a batch."""
        teacher, student, embedding, utterance = zip(*parts, strict=True)
        return Projections(
            torch.cat(teacher, dim=1),
            torch.cat(student, dim=1),
            torch.cat(embedding, dim=1),
            torch.cat(utterance),
        )

    def gathered(self) -> Projections:
        """The projections of the whole batch, gathered from all processes."""
        return Projections(
            gather_batch(self.teacher_GBE),
            gather_batch(self.student_VBE),
            gather_batch(self.embedding_VBD),
            gather_batch(self.utterance_B, dim=0),
        )


class LossTerms(NamedTuple):
    """Loss terms of a batch, and the values that statistics and queues need.

    Attributes:
        total: scalar to minimise.
        terms: unweighted loss terms by name, detached.
        assignment_NK: the teacher's distributions over prototypes before balancing, (G·B, K), detached.
        embedding_ND: student embeddings of all views, (V·B, D), detached.
        teacher_NE: the teacher's projections, (G·B, E).
        utterance_losses: index and loss of each utterance, (B,) each, for objectives that track them; else
            None.
        utterance_B: index of each utterance in the training data, for objectives that remember utterances;
            else None.
    """

    total: Tensor
    terms: dict[str, Tensor]
    assignment_NK: Tensor
    embedding_ND: Tensor
    teacher_NE: Tensor
    utterance_losses: tuple[Tensor, Tensor] | None = None
    utterance_B: Tensor | None = None


class Gradients(NamedTuple):
    """Gradients of an objective with respect to its inputs.

    Attributes:
        student_VBE: with respect to the student's projections.
        embedding_VBD: with respect to the student's embeddings.
        prototypes_KE: with respect to the prototypes; None if another part of the batch contributes them.
    """

    student_VBE: Tensor
    embedding_VBD: Tensor
    prototypes_KE: Tensor | None


class Branch(nn.Module):
    """Encoder and projection head: features to embeddings (D) and projections (E).

    Args:
        encoder: any module that maps features to embeddings (B, D).
        head: maps embeddings to projections (B, E); None for the identity.
        projection_dim: E; None reads it from the attribute ``projection_dim``, ``out_features`` or
            ``embedding_dim`` of the head, or of the encoder if there is no head.

    Raises:
        ValueError: there is no such attribute.
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
                f"{type(module).__name__} has no attribute with the size of its output; "
                "give Branch(encoder, head, projection_dim=...)"
            )
        self.projection_dim: int = size

    def forward(self, features_BFT: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, D) and projections (B, E)."""
        embedding_BD: Tensor = self.encoder(features_BFT)
        return embedding_BD, self.head(embedding_BD)


class Objective(nn.Module, abc.ABC):
    """What the training loop trains.

    Attributes:
        features: maps the samples of a batch to what the student takes.
        student: the network that is trained.
        teacher: its EMA, a module of the same architecture, which is exported.
        prototypes: a trained vector for each class, (K, E), which guards and dashboard watch.
    """

    features: nn.Module
    student: nn.Module
    teacher: nn.Module
    prototypes: nn.Parameter

    @abc.abstractmethod
    def forward(self, batch: Any, given: Gradients | None = None) -> LossTerms:
        """Compute the loss of a batch; ``given`` is for gradient caching (`SelfDistillation.forward`)."""

    def example(self, num_samples: int) -> Tensor:
        """An input of the student, for drawing its graph: two silent views of so many samples."""
        features: Tensor = self.features(torch.zeros(2, num_samples, device=self.prototypes.device))
        return features

    def after_step(self, momentum: float, terms: LossTerms) -> None:  # noqa: ARG002 - subclasses use it
        """Update the teacher and the state of the objective after an optimizer step.

        Args:
            momentum: EMA momentum m.
            terms: result of `forward` for this step.
        """
        self._update_averages(list(self.teacher.parameters()), list(self.student.parameters()), momentum)

    def _copy_buffers(self) -> None:
        """Give the teacher the student's buffers, such as the running averages of batch norm."""
        for own, other in zip(self.teacher.buffers(), self.student.buffers(), strict=True):
            own.copy_(other)

    @staticmethod
    @torch.no_grad()
    def _update_averages(averages: list[Any], sources: list[Any], momentum: float) -> None:
        """EMA update averages ← m · averages + (1 − m) · sources, in one fused call."""
        torch._foreach_lerp_(averages, sources, 1.0 - momentum)


class SelfDistillation(Objective):
    """Student, teacher and prototypes; subclasses implement the objective.

    Args:
        student: maps features (B, F, T) to embeddings (B, D): any module, or a `Branch` with a head.
        teacher: EMA of the student, a module of the same architecture; None copies the student.
        num_prototypes: K.
        features: maps crops (B, S) to features; None if the crops of a batch are features already.
        batch_norm: source of the teacher's batch-norm statistics, see `TeacherConfig`.

    Raises:
        ValueError: teacher and student differ in architecture or are the same module, or their output size is
            unknown.
    """

    student: Branch
    teacher: Branch

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
        """Compute the objective from the projections of a whole batch, in float32 (float64 is kept)."""

    def after_step(self, momentum: float, terms: LossTerms) -> None:
        """Update the teacher and the state of the objective, see `Objective.after_step`."""
        super().after_step(momentum, terms)
        if self._batch_norm == "student":
            self._copy_buffers()

    @torch.no_grad()
    def set_prototypes(self, prototypes_KE: Tensor) -> None:
        """Overwrite the prototypes."""
        self.prototypes.copy_(prototypes_KE)

    def forward(self, batch: CropBatch, given: Gradients | None = None) -> LossTerms:
        """Compute the objective on a batch of crops, together with those of all other processes.

        Args:
            batch: crops. With several global crops, every local crop is compared with each of them.
            given: gradient caching: gradients for these rows from a forward pass over the whole batch.
                ``total`` is then a scalar with these gradients and no other meaning, without terms.
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
        """Forward pass of student and teacher on the crops of this process."""
        with torch.no_grad():
            # The teacher has no dropout; only its batch norms may be in training mode.
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
        """Forward pass of crops (V, B, S): embeddings (V, B, D) and projections (V, B, E).

        Args:
            branch: student or teacher.
            crops_VBS: the crops.
            erasure_VB4: parts of the features to erase (`sdpn.augmentation.erasing`).
        """
        num_views, num_utterances = crops_VBS.shape[:2]
        with torch.autocast(crops_VBS.device.type, enabled=False):  # features are always float32
            features = self.features(crops_VBS.flatten(0, 1))
            if erasure_VB4 is not None:
                features = erase(features, erasure_VB4.flatten(0, 1))
        embedding_ND, projection_NE = branch(features)
        return (
            embedding_ND.view(num_views, num_utterances, -1),
            projection_NE.view(num_views, num_utterances, -1),
        )


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
        raise ValueError("student and teacher must be separate modules; None copies the student")


def batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """All batch-norm layers of a module."""
    return [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


def cosine_logits(projection_NE: Tensor, prototypes_KE: Tensor, temperature: float) -> Tensor:
    """Cosine to every prototype divided by τ, (…, K), in float32 (float64 is kept)."""
    with torch.autocast(projection_NE.device.type, enabled=False):
        unit_NE = direction(projection_NE)
        return unit_NE @ direction(prototypes_KE).to(unit_NE.dtype).T / temperature
