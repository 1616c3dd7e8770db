"""A teacher's embeddings: their digest depends on everything that a resumed run must find again."""

from __future__ import annotations

import torch

from sdpn.data.crops import CropBatch
from sdpn.distill.targets import Targets


def _targets() -> Targets:
    rows = torch.arange(12.0).view(2, 3, 2) + 1
    return Targets(rows, (1.0, 1.1), "teacher")


def test_the_digest_follows_embeddings_teacher_and_speeds() -> None:
    targets = _targets()
    other_rows = targets.rows_SNE.clone()
    other_rows[1, 2, 1] += 1e-6 * 12
    others = [
        targets._replace(rows_SNE=other_rows),
        targets._replace(speeds=(1.0, 0.9)),
        targets._replace(teacher="another"),
        targets._replace(rows_SNE=targets.rows_SNE.flip(1)),
    ]
    digests = {targets.digest, *(other.digest for other in others)}
    assert len(digests) == 5 and _targets().digest == targets.digest


def test_speeds_are_found_though_they_come_rounded() -> None:
    crops = torch.zeros(1, 3, 4)
    batch = CropBatch(crops, crops, torch.tensor([0, 1, 2]))
    assert _targets().of(batch).tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    rounded = batch._replace(speed_B=torch.tensor([1.1, 1.0, 1.1], dtype=torch.float16))
    assert _targets().of(rounded).tolist() == [[7.0, 8.0], [3.0, 4.0], [11.0, 12.0]]
