"""Crops: every offset reachable, short ones repeated, silence refused."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.data.crops import CropConfig, crop


def test_every_offset_is_drawn_equally_often_the_last_included() -> None:
    rng = np.random.default_rng(0)
    wave = np.arange(1.0, 8.0, dtype=np.float32)  # 7 samples, crops of 4: offsets 0..3
    starts = [int(piece[0]) for _ in range(4000) if (piece := crop(wave, 4, rng)) is not None]
    counts = np.bincount(starts, minlength=5)[1:]
    assert len(counts) == 4 and counts.min() > 900 and counts.max() < 1100


def test_exactly_as_long_as_the_crop() -> None:
    wave = np.ones(64000, dtype=np.float32)
    piece = crop(wave, 64000, np.random.default_rng(0))
    assert piece is not None and np.array_equal(piece, wave)


def test_short_waves_are_repeated_not_padded() -> None:
    piece = crop(np.array([1.0, 2.0], dtype=np.float32), 5, np.random.default_rng(0))
    assert piece is not None and piece.tolist() == [1, 2, 1, 2, 1]


def test_digital_silence_gives_none_and_is_avoided_where_possible() -> None:
    rng = np.random.default_rng(0)
    assert crop(np.zeros(100, dtype=np.float32), 10, rng) is None
    half = np.concatenate([np.zeros(500, dtype=np.float32), np.ones(500, dtype=np.float32)])
    pieces = [crop(half, 100, rng) for _ in range(200)]
    assert all(piece is not None and piece.any() for piece in pieces)


@pytest.mark.parametrize(
    "changes", [{"num_global": -1}, {"num_local": 0}, {"local_s": 0.05}, {"longest_local_s": 1.0}]
)
def test_settings_out_of_range(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        CropConfig(**changes)  # type: ignore[arg-type]


def test_lengths_of_local_crops_lie_between_both_and_differ() -> None:
    config = CropConfig(num_global=0, local_s=1.0, longest_local_s=3.0, num_local=2)
    rng = np.random.default_rng(0)
    samples = [config.draw_local_samples(rng) for _ in range(500)]
    assert 16000 <= min(samples) < 17000 and 47000 < max(samples) <= 48000
    assert config.mean_samples == pytest.approx(np.mean(samples) * 2, rel=0.05)
    assert CropConfig(local_s=1.5).draw_local_samples(rng) == 24000
