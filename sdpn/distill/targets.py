"""A distillation teacher's embeddings of the training speech, computed before training.

Shapes: S speeds, N utterances, E teacher embedding.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor

from sdpn.data.crops import CropBatch


class Targets(NamedTuple):
    """A teacher's embeddings of clean, whole utterances.

    Attributes:
        rows_SNE: (S, N, E) float32, in the order of the data; zeros where the teacher failed.
        speeds: the S speed factors of the utterances, 1 first.
        teacher: fingerprint of the teacher.
        teacher_parameters: number of trainable parameters of the teacher; None if unknown.
    """

    rows_SNE: Tensor
    speeds: tuple[float, ...]
    teacher: str
    teacher_parameters: int | None = None

    @property
    def embedding_dim(self) -> int:
        """Embedding dimension E."""
        return self.rows_SNE.shape[2]

    @property
    def digest(self) -> str:
        """Hash of the teacher and of all embeddings, which must be unchanged to resume a run."""
        digest = hashlib.sha256(f"{self.teacher} {self.speeds} {tuple(self.rows_SNE.shape)}\n".encode())
        digest.update(self.rows_SNE.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def available(self) -> Tensor:
        """All available embeddings at every speed, (M, E)."""
        rows_ME = self.rows_SNE.flatten(0, 1)
        return rows_ME[_is_available(rows_ME)]

    def centred(self) -> Targets:
        """Subtract the mean embedding at original speed, which carries no speaker information."""
        recorded_NE = self.rows_SNE[0]
        mean_E = recorded_NE[_is_available(recorded_NE)].double().mean(0).float()
        centred_SNE = torch.where(_is_available(self.rows_SNE).unsqueeze(-1), self.rows_SNE - mean_E, 0.0)
        return self._replace(rows_SNE=centred_SNE)

    def of(self, batch: CropBatch) -> Tensor:
        """Embeddings (B, E) of the utterances of a batch at their speeds; zeros where missing."""
        return self.rows_SNE[batch.speed_index(self.speeds), batch.utterance_B]

    def to(self, device: torch.device) -> Targets:
        """Move to a device."""
        return self._replace(rows_SNE=self.rows_SNE.to(device))


def _is_available(rows: Tensor) -> Tensor:
    """Mask (…,) of the rows (…, E) that hold an embedding."""
    return rows.abs().amax(-1) > 0
