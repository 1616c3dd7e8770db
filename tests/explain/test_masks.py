"""Deletion and insertion: the right map does better than chance, the opposite one worse."""

from __future__ import annotations

import torch

from sdpn.explain.masks import MaskTest
from sdpn.explain.methods import METHODS
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.randomised import randomised
from tests.explain.conftest import voice
from tests.explain.test_methods import _known


def test_a_right_map_beats_random_masks_and_its_opposite_does_not(linear: ExplainedNetwork) -> None:
    features_1FT, target, weight_F = _known(linear)
    right_FT = (weight_F[:, None] * features_1FT[0]).numpy()
    test = MaskTest(linear, target, features_1FT, seed=0)
    deletion, insertion, random = test.curves(right_FT).areas
    assert deletion < random < insertion
    deletion, insertion, random_again = test.curves(-right_FT).areas
    assert insertion < random_again < deletion
    assert random_again == random  # the same masks
    assert test.curves(right_FT.sum(0, keepdims=True)).deletion.shape == (7,)


def test_random_weights_leave_the_network_alone(linear: ExplainedNetwork) -> None:
    before = {name: value.clone() for name, value in linear.encoder.state_dict().items()}
    state = torch.get_rng_state()
    other = randomised(linear, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    features_1FT = linear.features(voice(0, 1.0, 0))
    assert not torch.allclose(other.embed(features_1FT), linear.embed(features_1FT))
    for name, value in linear.encoder.state_dict().items():
        assert torch.equal(value, before[name])
    again = randomised(linear, seed=1)
    assert torch.equal(other.embed(features_1FT), again.embed(features_1FT))
    assert METHODS["cam"].kept
