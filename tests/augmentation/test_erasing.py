"""Erasing: what is drawn is what is set to the mean, and nothing else."""

from __future__ import annotations

import numpy as np
import torch

from sdpn.augmentation.erasing import draw_erasure, erase


def test_runs_of_frames_and_bands_become_the_mean_of_their_band() -> None:
    features = torch.randn(3, 10, 20, generator=torch.Generator().manual_seed(0))
    last = 65535  # the last place that fits
    erasure = torch.tensor([[0, 4, 0, 0], [last, 3, last, 2], [0, 0, 0, 0]], dtype=torch.int32)
    erased = erase(features, erasure)
    expected = features.clone()
    mean = features.mean(dim=2)
    expected[0, :, :4] = mean[0][:, None]
    expected[1, :, 17:] = mean[1][:, None]
    expected[1, 8:] = mean[1, 8:][:, None]
    torch.testing.assert_close(erased, expected)
    assert torch.equal(erased[2], features[2])


def test_more_frames_than_there_are() -> None:
    features = torch.randn(1, 4, 5)
    erased = erase(features, torch.tensor([[30000, 9, 30000, 9]], dtype=torch.int32))
    torch.testing.assert_close(erased, features.mean(dim=2, keepdim=True).expand(1, 4, 5))


def test_every_length_and_every_place_are_as_likely() -> None:
    rng = np.random.default_rng(0)
    draws = np.stack([draw_erasure(rng, 0.2, 9, 5) for _ in range(20000)])
    drawn = draws[draws.any(axis=1)]
    assert abs(len(drawn) / 20000 - 0.2) < 0.01
    frames, bands = np.bincount(drawn[:, 1], minlength=10), np.bincount(drawn[:, 3], minlength=6)
    assert len(frames) == 10 and np.abs(frames / len(drawn) - 1 / 10).max() < 0.02
    assert len(bands) == 6 and np.abs(bands / len(drawn) - 1 / 6).max() < 0.03
    # of 20 frames, a run of 3 has 18 places
    masks = erase(
        torch.eye(20).repeat(len(drawn), 1, 1), torch.from_numpy(drawn * [1, 0, 0, 0] + [0, 3, 0, 0])
    )
    starts = (masks != torch.eye(20)).any(dim=1).float().argmax(dim=1)
    counts = np.bincount(starts.numpy(), minlength=18)
    assert len(counts) == 18 and np.abs(counts / len(drawn) - 1 / 18).max() < 0.02
