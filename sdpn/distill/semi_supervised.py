"""Classification of labelled speakers and self-distillation of unlabelled speech, in one step.

Utterances with a label train the classifier on the student's embeddings; those without train the student and
prototypes of their own with the objective of SDPN, behind a projection head that is not exported. Both
objectives share the student and its EMA.

Shapes: B batch, G/V global/local crops, D embedding, E projection, K classes, P prototypes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import nn

from sdpn.data.crops import CropBatch
from sdpn.distill.base import Branch, LossTerms, Projections
from sdpn.distill.labels import Labels
from sdpn.distill.queue import TeacherQueue
from sdpn.distill.sdpn import SDPNConfig, sdpn_terms
from sdpn.distill.supervised import Supervised, SupervisedConfig
from sdpn.models.heads import ProjectionHead
from sdpn.models.pretraining import Pretraining


class SemiSupervised(Supervised):
    """A classifier and, beside it, SDPN on what has no label (−1).

    Args:
        student: see `Supervised`; without a head.
        average: see `Supervised`.
        labels: the class of each utterance, −1 for none, and the names of the classes.
        head: the projection head of SDPN.
        sdpn: settings of SDPN.
        config: see `Supervised`; ``head`` must be ``am`` or ``aam``.
        features: see `Supervised`.
        speeds: see `Supervised`.
    """

    def __init__(
        self,
        student: Branch,
        average: nn.Module | None,
        labels: Labels,
        *,
        head: ProjectionHead,
        sdpn: SDPNConfig,
        config: SupervisedConfig | None = None,
        features: nn.Module | None = None,
        speeds: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__(student, average, labels, config=config, features=features, speeds=speeds)
        self.sdpn = sdpn
        self.sdpn_head = head
        self.average_sdpn_head = copy.deepcopy(head).requires_grad_(False)
        bound = 1 / math.sqrt(head.projection_dim)
        self.clusters = nn.Parameter(
            torch.empty(sdpn.num_prototypes, head.projection_dim).uniform_(-bound, bound)
        )
        self.queue = TeacherQueue(sdpn.queue_size, head.projection_dim)

    def project(self, batch: CropBatch) -> Projections:
        """Forward pass of student and EMA; their rows are projections of SDPN's head."""
        with torch.no_grad():
            self.teacher.eval()
            self.average_sdpn_head.eval()
            embedding_GBD, _ = self.forward_branch(self.teacher, batch.global_GBS)
            teacher_GBE = self.average_sdpn_head(embedding_GBD.flatten(0, 1)).unflatten(
                0, embedding_GBD.shape[:2]
            )
        embedding_VBD, _ = self.forward_branch(self.student, batch.local_VBS, batch.erasure_VB4)
        student_VBE = self.sdpn_head(embedding_VBD.flatten(0, 1)).unflatten(0, embedding_VBD.shape[:2])
        return Projections(teacher_GBE, student_VBE, embedding_VBD, self._examples(batch))

    def objective(self, projections: Projections) -> LossTerms:
        """The classifier's loss on the labelled rows, plus SDPN's on the others."""
        teacher_GBE, student_VBE, embedding_VBD, example_B = projections
        labelled_B = self._labels_of(example_B) >= 0
        own_VBD = embedding_VBD[:, labelled_B]
        known = super().objective(Projections(own_VBD.detach()[:1], own_VBD, own_VBD, example_B[labelled_B]))
        others_GBE = teacher_GBE[:, ~labelled_B]
        with torch.autocast(student_VBE.device.type, enabled=False):
            total, terms, _ = sdpn_terms(
                self.sdpn,
                teacher_GBE=others_GBE.float(),
                student_VBE=student_VBE[:, ~labelled_B].float(),
                embedding_VBD=embedding_VBD[:, ~labelled_B].float(),
                queue_QE=self.queue.rows(),
                prototypes_KE=self.clusters,
            )
        return LossTerms(
            known.total + self.config.unlabelled_weight * total,
            known.terms | {f"unlabelled_{name}": term for name, term in terms.items()},
            known.assignment_NK,
            known.embedding_ND,
            others_GBE.flatten(0, 1),
        )

    def after_step(self, momentum: float, terms: LossTerms) -> None:
        """Update the EMA of network, classifier and head, and keep the EMA's projections."""
        super().after_step(momentum, terms)
        self._update_averages(
            list(self.average_sdpn_head.parameters()), list(self.sdpn_head.parameters()), momentum
        )
        for own, other in zip(self.average_sdpn_head.buffers(), self.sdpn_head.buffers(), strict=True):
            own.copy_(other)
        self.queue.push(terms.teacher_NE)

    @torch.no_grad()
    def start_from(self, earlier: Pretraining) -> None:
        """Take head and prototypes of an SDPN network, as far as they are of the same sizes."""
        head_shapes, others = (
            {name: tensor.shape for name, tensor in state.items()}
            for state in (self.sdpn_head.state_dict(), earlier.head)
        )
        if head_shapes != others:
            return
        self.sdpn_head.load_state_dict(earlier.head)
        self.average_sdpn_head.load_state_dict(earlier.head)
        if earlier.prototypes.shape == self.clusters.shape:
            self.clusters.copy_(earlier.prototypes)
