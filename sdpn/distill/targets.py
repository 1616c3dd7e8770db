"""What a foreign teacher says about the training speech, known before the training begins.

Shapes: S speeds, N utterances, E the teacher's embedding.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor


class Targets(NamedTuple):
    """A teacher's embeddings of clean, whole utterances.

    Attributes:
        rows_SNE: (S, N, E) float32, in the order of the data; zeros where the teacher has none.
        speeds: how fast each utterance was for the teacher, S of them, 1 first.
        teacher: fingerprint of the teacher.
        teacher_parameters: trainable numbers of the teacher; None where it was not there to be counted.
    """

    rows_SNE: Tensor
    speeds: tuple[float, ...]
    teacher: str
    teacher_parameters: int | None = None

    @property
    def embedding_dim(self) -> int:
        """Size E of an embedding."""
        return self.rows_SNE.shape[2]

    @property
    def digest(self) -> str:
        """Hash of the teacher and of all embeddings: what a run must find again to be continued."""
        digest = hashlib.sha256(f"{self.teacher} {self.speeds} {tuple(self.rows_SNE.shape)}\n".encode())
        digest.update(self.rows_SNE.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def available(self) -> Tensor:
        """All embeddings that there are, at every speed, (M, E)."""
        rows_ME = self.rows_SNE.flatten(0, 1)
        return rows_ME[_is_available(rows_ME)]

    def centred(self) -> Targets:
        """The same without the mean of the utterances as recorded, which all voices share."""
        recorded_NE = self.rows_SNE[0]
        mean_E = recorded_NE[_is_available(recorded_NE)].double().mean(0).float()
        centred_SNE = torch.where(_is_available(self.rows_SNE).unsqueeze(-1), self.rows_SNE - mean_E, 0.0)
        return self._replace(rows_SNE=centred_SNE)

    def of(self, utterance_B: Tensor, speed_B: Tensor | None) -> Tensor:
        """The embeddings (B, E) of utterances at speeds; zeros where there is none.

        Args:
            utterance_B: (B,) int64, places in the data.
            speed_B: (B,) float32, each one of ``speeds``; None: as recorded.
        """
        if speed_B is None:
            return self.rows_SNE[0, utterance_B]
        speeds_S = torch.tensor(self.speeds, dtype=speed_B.dtype, device=speed_B.device)
        variant_B = (speed_B.unsqueeze(1) - speeds_S).abs().argmin(1)
        return self.rows_SNE[variant_B, utterance_B]

    def to(self, device: torch.device) -> Targets:
        """Move to a device."""
        return self._replace(rows_SNE=self.rows_SNE.to(device))


def _is_available(rows: Tensor) -> Tensor:
    """Which rows of (…, E) are an embedding, (…,) bool."""
    return rows.abs().amax(-1) > 0
