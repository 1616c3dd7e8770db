"""Targets: numbers whose values are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from sdpn.errors import InputError
from sdpn.explain.target import assignments, own_voice, prototype_assignment, similarity_to, speaker_class
from sdpn.models.heads import HeadConfig, ProjectionHead
from sdpn.models.pretraining import Pretraining, read_pretraining


def test_own_voice_is_one_for_itself_and_has_a_gradient() -> None:
    vector_D = torch.tensor([3.0, 4.0])
    row_1D = vector_D[None].clone().requires_grad_()
    score = own_voice(vector_D).score(row_1D)
    score.sum().backward()
    assert score.item() == pytest.approx(1)
    torch.testing.assert_close(row_1D.grad, torch.tensor([[3 / 25, 4 / 25]]))


def test_similarity_and_speaker_are_cosines() -> None:
    row_1D = torch.tensor([[1.0, 1.0]])
    assert similarity_to(torch.tensor([5.0, 0.0]), "a").score(row_1D).item() == pytest.approx(0.5**0.5)
    centroids = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, -1.0]])
    # cosine to the first, minus the mean of those to the others, which cancel
    assert speaker_class(centroids, 0, "a").score(row_1D).item() == pytest.approx(0.5**0.5)


@pytest.mark.parametrize("hidden", [0, 2])
def test_assignments_are_those_of_the_head_that_was_stored(hidden: int) -> None:
    torch.manual_seed(0)
    head = ProjectionHead(HeadConfig(hidden_dim=7, num_hidden=hidden, projection_dim=5), 4).eval()
    prototypes = torch.randn(9, 5)
    rows_BD = torch.randn(3, 4)
    cosines = normalize(head(rows_BD), dim=1) @ normalize(prototypes, dim=1).T
    expected = (cosines / 0.1).softmax(1)
    stored = Pretraining(head.state_dict(), prototypes)
    torch.testing.assert_close(assignments(stored)(rows_BD).exp(), expected)
    torch.testing.assert_close(prototype_assignment(stored, 2).score(rows_BD).exp(), expected[:, 2])


def test_a_prototype_that_does_not_exist(tiny_folder: Path) -> None:
    with pytest.raises(InputError, match=r"there is no prototype 12.*from 0 to 11"):
        prototype_assignment(read_pretraining(tiny_folder), 12)
