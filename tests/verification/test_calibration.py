"""Log-likelihood ratios: scores whose ratios are known come out as these, with and without lengths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.metrics.verification import cllr, error_rates, min_cllr
from sdpn.pretrained import SHIPPED
from sdpn.verification.calibration import TERMS, Calibration, fit_calibration
from sdpn.verification.storage import read_back_end, write_back_end


def trials(num: int, *, gap: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores of one deviation: their log-likelihood ratio is gap · (score - gap / 2)."""
    rng = np.random.default_rng(seed)
    is_target = np.arange(num) % 4 == 0
    return rng.normal(gap * is_target, 1.0), is_target


def test_known_ratios() -> None:
    scores, is_target = trials(40_000, gap=2.0)
    found = fit_calibration(scores, is_target)
    np.testing.assert_allclose(found(np.array([0.0, 1.0, 3.0])), [-2.0, 0.0, 4.0], atol=0.15)
    assert found.weights_W[2:].tolist() == [0.0, 0.0, 0.0]
    best = min_cllr(error_rates(scores, is_target))
    assert cllr(found(scores), is_target) < best + 0.01 < cllr(scores, is_target)


def test_lengths_change_the_slope() -> None:
    """In long trials scores are twice as far apart: one line for all costs more."""
    short, is_target = trials(20_000, gap=1.5)
    long, _ = trials(20_000, gap=3.0, seed=1)
    scores, targets = np.concatenate([short, long]), np.tile(is_target, 2)
    seconds_N2 = np.repeat([[2.0, 3.0], [16.0, 20.0]], 20_000, axis=0)
    line, by_length = (fit_calibration(scores, targets, lengths) for lengths in (None, seconds_N2))
    assert cllr(by_length(scores, seconds_N2), targets) < cllr(line(scores), targets) - 0.01
    # sides are interchangeable, and beyond a minute nothing changes
    np.testing.assert_array_equal(by_length(scores, seconds_N2), by_length(scores, seconds_N2[:, ::-1]))
    hour, minute = (by_length(np.ones(1), np.full((1, 2), length)) for length in (3600.0, 60.0))
    np.testing.assert_array_equal(hour, minute)


def test_nothing_to_calibrate() -> None:
    scores, is_target = trials(1000, gap=2.0)
    with pytest.raises(InputError, match="not higher than those of two"):
        fit_calibration(-scores, is_target)
    with pytest.raises(InputError, match="trials of one speaker and of two"):
        fit_calibration(scores, np.ones(1000, dtype=bool))


def test_the_file_keeps_it(tmp_path: Path) -> None:
    back_end = read_back_end(SHIPPED)
    assert back_end.calibration is not None and back_end.calibration.weights_W.shape == (len(TERMS),)
    weights_W = np.array([-1.0, 1.5, 0.25, -0.5, 0.125])
    write_back_end(tmp_path / "be.safetensors", replace(back_end, calibration=Calibration(weights_W)))
    again = read_back_end(tmp_path / "be.safetensors")
    assert again.calibration is not None
    np.testing.assert_array_equal(again.calibration.weights_W, weights_W)
    write_back_end(tmp_path / "be.safetensors", replace(back_end, calibration=None))
    assert read_back_end(tmp_path / "be.safetensors").calibration is None
    write_back_end(tmp_path / "be.safetensors", replace(back_end, calibration=Calibration(weights_W[:3])))
    with pytest.raises(InputError, match="its calibration is not 5 numbers"):
        read_back_end(tmp_path / "be.safetensors")
