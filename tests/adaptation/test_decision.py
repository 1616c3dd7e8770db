"""The decision on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.adaptation.decision import DecisionConfig, SeparationComparison, compare_separation, decide
from sdpn.adaptation.separation import Separation

CONFIG = DecisionConfig()


def _scenes(mean: float, *, num: int = 12, spread: float = 0.1, seed: int = 0) -> Separation:
    anchors = np.full(num, 50.0)
    return Separation(anchors * (mean + spread * np.random.default_rng(seed).standard_normal(num)), anchors)


def _compared(old: Separation, new: Separation) -> SeparationComparison:
    comparison = compare_separation("within scenes", old, new, CONFIG.confidence)
    assert comparison is not None
    return comparison


def test_the_gain_is_relative_and_its_interval_holds_it() -> None:
    old = _scenes(0.5)
    new = Separation(old.sums_U * 1.1, old.anchors_U)
    comparison = _compared(old, new)
    assert comparison.gain == pytest.approx(0.1)
    assert comparison.low < 0.1 < comparison.high
    assert comparison.scenes == 12


def test_a_clear_gain_is_kept() -> None:
    old = _scenes(0.5)
    new = Separation(old.sums_U + 50 * 0.05, old.anchors_U)
    verdict = decide(_compared(old, new), [], CONFIG)
    assert verdict.keeps_adapted and len(verdict.comparisons) == 1


def test_nothing_learned_keeps_the_old_one() -> None:
    old = _scenes(0.5)
    verdict = decide(_compared(old, old), [], CONFIG)
    assert not verdict.keeps_adapted and "not significant" in verdict.reasons[0]


def test_collapse_keeps_the_old_one() -> None:
    verdict = decide(_compared(_scenes(0.5), _scenes(0.0, seed=1)), [], CONFIG)
    assert not verdict.keeps_adapted


def test_a_gain_that_one_scene_made_is_chance() -> None:
    old = _scenes(0.5, spread=0.0)
    sums = old.sums_U.copy()
    sums[0] += 50.0
    assert not decide(_compared(old, Separation(sums, old.anchors_U)), [], CONFIG).keeps_adapted


@pytest.mark.parametrize(("loss", "kept"), [(0.04, True), (0.06, False)])
def test_a_loss_elsewhere_is_watched(loss: float, kept: bool) -> None:
    old = _scenes(0.5)
    within = _compared(old, Separation(old.sums_U * 1.2, old.anchors_U))
    guard = compare_separation(
        "on rehearsed speech", old, Separation(old.sums_U * (1 - loss), old.anchors_U), 0.9
    )
    assert guard is not None
    verdict = decide(within, [guard], CONFIG)
    assert verdict.keeps_adapted is kept
    assert kept or "on rehearsed speech" in verdict.reasons[0]


def test_little_speech_keeps_the_old_one() -> None:
    old = _scenes(0.5, num=4)
    verdict = decide(_compared(old, Separation(old.sums_U * 2, old.anchors_U)), [], CONFIG)
    assert not verdict.keeps_adapted and "4 scenes" in verdict.reasons[0]
    assert not decide(None, [], CONFIG).keeps_adapted


def test_scenes_without_anchors_do_not_count() -> None:
    old = Separation(np.array([10.0, 0.0, 12.0]), np.array([20.0, 0.0, 20.0]))
    comparison = compare_separation("within scenes", old, old, 0.9)
    assert comparison is not None and comparison.scenes == 2
    single = Separation(np.array([10.0, 0.0]), np.array([20.0, 0.0]))
    assert compare_separation("within scenes", single, single, 0.9) is None


@pytest.mark.parametrize("setting", [{"confidence": 1.0}, {"largest_loss": -0.1}, {"fewest_scenes": 1}])
def test_thresholds_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needed"):
        DecisionConfig(**setting)  # type: ignore[arg-type]
