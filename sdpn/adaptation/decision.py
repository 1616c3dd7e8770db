"""Decision, without labels, whether an adapted model replaces the original one.

The rule is fixed in advance (docs/adaptation.md describes how it was chosen and validated): on held-out
recordings, speaker separation (`sdpn.adaptation.separation`) within scenes must improve significantly; across
recordings, and on held-out speech of the original domain if given, it must not decrease.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sdpn.adaptation.separation import Separation
from sdpn.metrics.bootstrap import compare_paired


@dataclass(frozen=True, kw_only=True)
class DecisionConfig:
    """Criteria for accepting the adapted model. Gains are relative changes of the mean separation.

    Attributes:
        confidence: confidence level of the interval of each gain; the gain within scenes must be
            significantly above 0.
        largest_loss: maximum acceptable loss across recordings, and on held-out speech of the original
            domain.
        fewest_scenes: minimum number of held-out scenes; with fewer the old model is kept.
    """

    confidence: float = 0.9
    largest_loss: float = 0.05
    fewest_scenes: int = 5

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 < self.confidence < 1 or self.largest_loss < 0 or self.fewest_scenes < 2:
            raise ValueError("0 < confidence < 1, largest_loss >= 0 and fewest_scenes >= 2 are needed")


@dataclass(frozen=True)
class SeparationComparison:
    """Two models on the same windows.

    Attributes:
        measure: which negative windows are used, in words.
        old: mean separation of the old model.
        new: that of the adapted one.
        gain: (new − old) / |old|.
        low: lower end of the interval of the gain.
        high: its upper end.
        scenes: number of scenes (or utterances) with anchors.
    """

    measure: str
    old: float
    new: float
    gain: float
    low: float
    high: float
    scenes: int


@dataclass(frozen=True)
class Decision:
    """The decision and its basis.

    Attributes:
        keeps_adapted: whether the adapted model replaces the old one.
        reasons: sentences: all arguments against it, or the one in favour.
        comparisons: the figures.
    """

    keeps_adapted: bool
    reasons: tuple[str, ...]
    comparisons: tuple[SeparationComparison, ...]


def compare_separation(
    measure: str, old: Separation, new: Separation, confidence: float
) -> SeparationComparison | None:
    """Relative gain of the new model, with its paired bootstrap interval over scenes.

    Returns:
        the comparison; None if fewer than two scenes have anchors.
    """
    has_anchors = old.anchors_U > 0
    paired = compare_paired(
        new.sums_U[has_anchors],
        old.sums_U[has_anchors],
        old.anchors_U[has_anchors],
        resamples=2000,
        confidence=confidence,
    )
    if paired is None:
        return None
    unit = max(abs(old.mean), 1e-9)
    return SeparationComparison(
        measure,
        old.mean,
        new.mean,
        paired.difference / unit,
        paired.interval.low / unit,
        paired.interval.high / unit,
        int(has_anchors.sum()),
    )


def decide(
    within: SeparationComparison | None, guards: Sequence[SeparationComparison], config: DecisionConfig
) -> Decision:
    """Decide whether the adapted model replaces the original one.

    Args:
        within: held-out recordings, negatives of the same scene; None if not available.
        guards: comparisons that must not show a loss.
        config: the thresholds.
    """
    against = []
    if within is None or within.scenes < config.fewest_scenes:
        scenes = 0 if within is None else within.scenes
        against.append(
            f"too little held-out speech to decide: {scenes} scenes, at least {config.fewest_scenes} are "
            "needed"
        )
    elif within.low <= 0:
        against.append(
            f"{within.measure} the gain is not significant: {within.gain:+.1%} "
            f"[{within.low:+.1%}, {within.high:+.1%}]"
        )
    against += [
        f"{guard.measure} speaker separation decreases: {guard.gain:+.1%}"
        for guard in guards
        if guard.gain < -config.largest_loss
    ]
    comparisons = (*(() if within is None else (within,)), *guards)
    if against or within is None:
        return Decision(False, tuple(against), comparisons)
    reason = (
        f"{within.measure} of held-out recordings speaker separation increases: {within.gain:+.1%} "
        f"[{within.low:+.1%}, {within.high:+.1%}]"
    )
    return Decision(True, (reason,), comparisons)
