"""The objective of segmentation: orders of speakers, classes of frames, and that it learns."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdpn.distill.segmentation import (
    ClassedWindows,
    LocalSpeakersConfig,
    Segmentation,
    classes_of,
    permutation_free,
    permuted_classes,
)
from sdpn.features.log_mel import FeatureConfig
from sdpn.models.segmentation_net import SegmentationNet, SegmentationNetConfig

TINY = SegmentationNetConfig(
    features=FeatureConfig(num_mels=16, hop_ms=10.0, floor=1e-4),
    channels=12,
    dilations=(1, 2),
    hidden=8,
    num_layers=1,
    linear=8,
)


def test_classes_of_frames() -> None:
    # the order of pyannote.audio: {}, {1}, {2}, {3}, {1, 2}, {1, 3}, {2, 3}
    active_TL = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 1, 0]], bool)
    assert classes_of(active_TL, 2).tolist() == [0, 1, 3, 4, 5, 6, 2]
    # where all three speak, the third, who speaks least in the window, is left out
    active_TL = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 0]], bool)
    assert classes_of(active_TL, 2).tolist() == [4, 1, 2]
    assert classes_of(active_TL, 3).tolist() == [7, 1, 2]


def test_permuted_classes() -> None:
    table_PC = permuted_classes(3, 2)
    assert table_PC.shape == (6, 7)
    assert table_PC[0].tolist() == list(range(7))
    swapped = table_PC[list(permutations(range(3))).index((1, 0, 2))]  # the first two change places
    assert swapped.tolist() == [0, 2, 1, 3, 4, 6, 5]


@given(st.integers(0, 2**31), st.integers(0, 5))
def test_the_order_of_speakers_does_not_matter(seed: int, order: int) -> None:
    rng = np.random.default_rng(seed)
    active_TL = rng.random((30, 3)) < 0.4
    log_p_1TC = torch.from_numpy(rng.standard_normal((1, 30, 7))).log_softmax(dim=-1)
    table_PC = torch.from_numpy(permuted_classes(3, 2))
    # of three at once, who is kept depends on the order only where two speak equally long
    class_T = classes_of(active_TL & (np.cumsum(active_TL, axis=1) <= 2), 2)
    other_T = permuted_classes(3, 2)[order][class_T]
    losses = [
        float(permutation_free(log_p_1TC, torch.from_numpy(each)[None], table_PC)[0])
        for each in (class_T, other_T)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)
    # by hand: the smallest mean of all orders
    by_hand = min(
        -float(log_p_1TC[0, torch.arange(30), table_PC[row][torch.from_numpy(class_T)]].mean())
        for row in range(6)
    )
    assert losses[0] == pytest.approx(by_hand, abs=1e-9)


def test_frames_of_the_network() -> None:
    network = SegmentationNet(TINY).eval()
    for num_samples in (400, 719, 720, 16_000, 159_999, 160_000):
        with torch.no_grad():
            found = network(torch.randn(1, num_samples))
        assert found.shape == (1, TINY.num_frames(num_samples), 7)
        np.testing.assert_allclose(found.exp().sum(dim=-1), 1.0, atol=1e-5)
    assert TINY.num_frames(399) == 0


def test_frames_are_where_the_sound_is() -> None:
    # before training: a click changes the convolutions' frames around it
    network = SegmentationNet(TINY).eval()
    wave_BS = 1e-3 * torch.randn(1, 32_000, generator=torch.Generator().manual_seed(0))
    clicked_BS = wave_BS.clone()
    clicked_BS[0, 16_000:16_010] = 1.0
    with torch.no_grad():
        features = [network.stem(network.features(each)) for each in (wave_BS, clicked_BS)]
    moved_T = (features[0] - features[1]).abs().sum(dim=(0, 1))
    centre_s = (float(moved_T.argmax()) * TINY.hop_samples + TINY.window_samples / 2) / 16_000
    assert centre_s == pytest.approx(1.0, abs=0.03)


def test_it_learns_when_two_tones_sound() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    objective = Segmentation(SegmentationNet(TINY)).train()
    optimizer = torch.optim.Adam([each for each in objective.parameters() if each.requires_grad], lr=1e-2)
    first = last = 0.0
    for step in range(60):
        active_BTL = np.repeat(rng.random((4, 10, 2)) < 0.5, 20, axis=1)[:, : TINY.num_frames(64_000)]
        at_S = np.arange(64_000) / 16_000
        tones_LS = np.stack([np.sin(2 * np.pi * hz * at_S) for hz in (500.0, 3000.0)])
        gates_BLS = np.repeat(active_BTL, 320, axis=1)[:, :64_000].transpose(0, 2, 1)
        gates_BLS = np.pad(gates_BLS, ((0, 0), (0, 0), (0, 64_000 - gates_BLS.shape[2])))
        wave_BS = (gates_BLS * tones_LS).sum(axis=1) + 0.01 * rng.standard_normal((4, 64_000))
        active_BTL = np.pad(active_BTL, ((0, 0), (0, 0), (0, 1)))
        classes_BT = np.stack([classes_of(each, 2) for each in active_BTL])
        batch = ClassedWindows(torch.from_numpy(wave_BS).float(), torch.from_numpy(classes_BT))
        optimizer.zero_grad()
        terms = objective(batch)
        terms.total.backward()
        optimizer.step()
        objective.after_step(0.5, terms)
        last = float(terms.terms["frame_error"])
        first = first if step else last
    assert first > 0.5 and last < 0.25
    # the teacher follows, with the student's running averages
    for own, other in zip(objective.teacher.buffers(), objective.student.buffers(), strict=True):
        assert torch.equal(own, other)
    assert objective.prototypes is objective.student.classifier.weight


def test_ranges() -> None:
    for wrong in ({"window_s": 0.5}, {"max_cast": 0}, {"held_out": 1.5}, {"turn_share": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LocalSpeakersConfig(**wrong)
    for sizes in ({"max_together": 4}, {"hidden": 0}, {"dilations": (0,)}):
        with pytest.raises(ValueError):
            SegmentationNetConfig(**sizes)
