"""Positives from other recordings: a recent teacher projection of probably the same speaker.

Two crops of one utterance share its channel and its room, so that a network can tell "the same" by these. A
crop of another recording of the speaker does not share them. Who the speaker is is unknown, so the nearest of
the recent utterances in the teacher's space stands in.

Source: self-supervised positive sampling, Lepage and Dehak, arXiv 2501.17772, section III, with nearest
neighbours in its memory (its SSPS-NN) instead of neighbouring clusters.

Shapes: B batch, E projection, M memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sdpn.distill.losses import direction
from sdpn.distill.queue import ring_places


class PositiveMemory(nn.Module):
    """The teacher's projections of the last utterances, oldest overwritten first; saved with the module.

    Args:
        size: number M of projections.
        projection_dim: E.
        neighbours: a positive is drawn from so many nearest utterances.
        share: share of the utterances that get a positive of another recording.
        first_step: step from which on they do: before, the teacher does not know voices yet.
    """

    rows_ME: Tensor
    utterance_M: Tensor

    def __init__(
        self, size: int, projection_dim: int, *, neighbours: int, share: float, first_step: int
    ) -> None:
        super().__init__()
        self.register_buffer("rows_ME", torch.zeros(size, projection_dim))
        self.register_buffer("utterance_M", torch.full((size,), -1, dtype=torch.int64))
        self._neighbours, self._share, self._first_step = neighbours, share, first_step
        self._step = 0
        self._pushed = 0

    @torch.no_grad()
    def positives(self, teacher_BE: Tensor, utterance_B: Tensor) -> Tensor:
        """The projections that the student is compared with, (B, E): of other recordings where one was drawn.

        The draw depends on the step alone: a resumed run repeats it, and all processes agree.

        Args:
            teacher_BE: the teacher's projections of the batch.
            utterance_B: index of each utterance, which is no positive of itself.
        """
        if self._step < self._first_step:
            return teacher_BE
        similarity_BM = direction(teacher_BE) @ direction(self.rows_ME).T
        other_BM = (self.utterance_M >= 0) & (self.utterance_M != utterance_B.unsqueeze(1))
        similarity_BM = similarity_BM.masked_fill(~other_BM, -torch.inf)
        nearest = similarity_BM.topk(min(self._neighbours, len(self.rows_ME)), dim=1)
        draws = torch.Generator().manual_seed(self._step)
        shape = (len(teacher_BE),)
        rank_B = torch.randint(nearest.indices.shape[1], shape, generator=draws).to(teacher_BE.device)
        taken_B = (torch.rand(shape, generator=draws) < self._share).to(teacher_BE.device)
        place_B = nearest.indices.gather(1, rank_B.unsqueeze(1)).squeeze(1)
        taken_B &= other_BM.gather(1, place_B.unsqueeze(1)).squeeze(1)
        return torch.where(taken_B.unsqueeze(1), self.rows_ME[place_B].to(teacher_BE.dtype), teacher_BE)

    @torch.no_grad()
    def push(self, teacher_BE: Tensor, utterance_B: Tensor) -> None:
        """Add the utterances of a step."""
        size = len(self.rows_ME)
        place_B = ring_places(self._pushed, len(utterance_B), size, self.rows_ME.device)
        self._pushed += len(utterance_B)
        self._step += 1
        self.rows_ME[place_B] = teacher_BE[-size:].to(self.rows_ME.dtype)
        self.utterance_M[place_B] = utterance_B[-size:]

    def get_extra_state(self) -> dict[str, Any]:
        """Return the counters, for ``state_dict``."""
        return {"step": self._step, "pushed": self._pushed}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the result of `get_extra_state`."""
        self._step, self._pushed = int(state["step"]), int(state["pushed"])
