"""sdpn.metrics.det: the curve keeps its shape, and the picture is a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from scipy.special import ndtri

from sdpn.metrics.bootstrap import Interval
from sdpn.metrics.det import det_curve, plot_det
from sdpn.metrics.verification import ErrorRates, error_rates


def normal_trials(num: int) -> ErrorRates:
    rng = np.random.default_rng(0)
    is_target = np.arange(num) % 2 == 0
    return error_rates(rng.normal(size=num) + 2.0 * is_target, is_target)


def test_normal_scores_are_a_straight_line_however_many() -> None:
    false_alarm, miss = det_curve(normal_trials(400_000))
    assert 100 < len(miss) <= 2000
    assert np.all(np.diff(miss) >= 0)
    assert np.all(np.diff(false_alarm) <= 0)
    # misses Phi(t - 2), false alarms Phi(-t): their probits add to -2
    inside = (miss > 1e-3) & (false_alarm > 1e-3)
    assert ndtri(miss[inside]) + ndtri(false_alarm[inside]) == pytest.approx(-2, abs=0.1)


def test_few_points_are_all_kept() -> None:
    rates = error_rates(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    # at 0.4: one of two targets is below, one of two non-targets is not
    assert [rate.tolist() for rate in det_curve(rates)] == [[0.5], [0.5]]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_picture_is_written_whole_and_the_same_again(tmp_path: Path, suffix: str) -> None:
    rates = normal_trials(2000)
    interval = Interval(0.14, 0.18, 0.95)
    paths = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
    for path in paths:
        plot_det(path, rates, title="normal", interval=interval)
    content = paths[0].read_bytes()
    if suffix == ".png":
        assert image.imread(paths[0]).shape[0] > 500
    else:
        assert content.startswith(b"%PDF" if suffix == ".pdf" else b"<?xml")
    if suffix != ".pdf":  # which holds its date
        assert paths[1].read_bytes() == content
    if suffix == ".svg":
        assert "EER" in content.decode()


@pytest.mark.parametrize(("scores", "is_target"), [([1.0, 0.0], [True, False]), ([0.0, 1.0], [True, False])])
def test_a_system_without_a_curve_still_has_a_picture(
    tmp_path: Path, scores: list[float], is_target: list[bool]
) -> None:
    rates = error_rates(np.array(scores), np.array(is_target))
    assert len(det_curve(rates)[0]) == 0
    plot_det(tmp_path / "det.svg", rates, title="all or nothing")
    assert (tmp_path / "det.svg").stat().st_size > 1000
