"""DET plots: misses against false alarms on probit axes."""

from __future__ import annotations

import os

import numpy as np

from sdpn.io.atomic import atomic_path
from sdpn.metrics.bootstrap import Interval
from sdpn.metrics.verification import ErrorRates, equal_error_rate

#: Tick labels of the axes, in percent.
_TICKS = [0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 40, 60, 80]

#: Maximum number of points: more look the same and make an SVG of megabytes.
_MAX_POINTS = 2000


def det_curve(rates: ErrorRates) -> tuple[np.ndarray, np.ndarray]:
    """False alarm and miss rates, thinned to the visible resolution.

    Points are spaced evenly along the probit axes; rates of 0 and 1, which these do not reach, are omitted.

    Returns:
        false alarm and miss rates, (P,) each, in ascending order of the threshold; P is 0 where no
        threshold has both kinds of error.
    """
    from scipy.special import ndtri

    inside = (rates.miss > 0) & (rates.miss < 1) & (rates.false_alarm > 0) & (rates.false_alarm < 1)
    false_alarm, miss = rates.false_alarm[inside], rates.miss[inside]
    if len(miss) <= _MAX_POINTS:
        return false_alarm, miss
    along = ndtri(miss) - ndtri(false_alarm)  # ascends with the threshold
    wanted = np.linspace(along[0], along[-1], _MAX_POINTS)
    kept = np.unique(np.searchsorted(along, wanted).clip(max=len(along) - 1))
    return false_alarm[kept], miss[kept]


def plot_det(
    path: str | os.PathLike[str], rates: ErrorRates, *, title: str, interval: Interval | None = None
) -> None:
    """Plot a detection error tradeoff curve; the suffix of ``path`` selects PNG, SVG or PDF.

    Source: Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997.

    Args:
        path: the file.
        rates: from `sdpn.metrics.verification.error_rates`.
        title: above the curve.
        interval: of the EER, drawn along the diagonal.

    Raises:
        InputError: the file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from scipy.special import ndtri

    false_alarm, miss = det_curve(rates)
    eer, _ = equal_error_rate(rates)
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(ndtri(false_alarm), ndtri(miss), color="tab:blue", marker="." if len(miss) < 3 else None)
    label = f"EER {100 * eer:.2f} %"
    if interval is not None:
        ends = np.clip([interval.low, interval.high], 1e-6, 1 - 1e-6)
        axes.plot(ndtri(ends), ndtri(ends), color="tab:red", linewidth=5, alpha=0.35, solid_capstyle="butt")
        label += f" ({100 * interval.low:.2f} to {100 * interval.high:.2f})"
    if 0 < eer < 1:
        axes.plot(ndtri(eer), ndtri(eer), "o", color="tab:red", label=label)
        axes.legend(loc="upper right")
    shown = np.concatenate([false_alarm, miss, [max(eer, 1e-4), 0.4]])
    low, high = min(0.005, shown.min() / 1.3), max(0.45, min(0.9, shown.max() * 1.05))
    ticks = [tick for tick in _TICKS if low <= tick / 100 <= high]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ndtri(np.array(ticks) / 100), [f"{tick:g}" for tick in ticks])
    axes.set_xlim(*ndtri([low, high]))
    axes.set_ylim(*ndtri([low, high]))
    axes.axline((0, 0), slope=1, color="0.7", linewidth=0.8, linestyle=":")
    axes.set_aspect("equal")
    axes.grid(color="0.9")
    axes.set_xlabel("false alarms, %")
    axes.set_ylabel("misses, %")
    axes.set_title(title)
    # without a salt and with a date, the same numbers would give another SVG each time
    is_svg = os.fspath(path).endswith(".svg")
    with matplotlib.rc_context({"svg.hashsalt": "sdpn"}), atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, metadata={"Date": None} if is_svg else None)
