"""Pictures of maps, attention, layers and prototypes, as PNG.

Shapes: F mel bins, T frames, L layers, H heads.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sdpn.explain.attention import AttentionMap
from sdpn.explain.methods import METHODS, RelevanceMap
from sdpn.explain.pitch import Pitch
from sdpn.explain.probes import ProbeScore
from sdpn.explain.trial_groups import GroupRates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Columns of a picture at most: longer recordings are averaged.
_MOST_COLUMNS = 1200
_DPI = 100
_WIDTH = 9.0
_KIND_COLOURS = {"speech": "#2a7f62", "noise": "#c27400", "silence": "#b9bec6"}
_RELEVANCE = "RdBu_r"


def draw_maps(
    log_mel_FT: np.ndarray, maps: Sequence[RelevanceMap], pitch: Pitch, kinds: Sequence[str], hop_s: float
) -> bytes:
    """The log-mel picture with marks of speech and voicing, and every map over it; red speaks for the score.

    Args:
        log_mel_FT: (F, T).
        maps: of the same utterance.
        pitch: of its frames.
        kinds: of its frames, as `sdpn.explain.frame_kinds.frame_kinds`.
        hop_s: seconds between frames.
    """
    figure = _figure(_WIDTH, 1.5 + 1.25 * (1 + len(maps)))
    axes = figure.subplots(1 + len(maps), 1, sharex=True, squeeze=False)[:, 0]
    seconds = log_mel_FT.shape[1] * hop_s
    mel_FN = _columns(log_mel_FT)
    extent = (0.0, seconds, 0.0, float(len(log_mel_FT)))
    low, high = np.quantile(mel_FN, [0.05, 0.995])
    axes[0].imshow(
        mel_FN, origin="lower", aspect="auto", extent=extent, cmap="Greys", vmin=low, vmax=high,
        interpolation="nearest",
    )  # fmt: skip
    _mark_frames(axes[0], pitch, kinds, hop_s, len(log_mel_FT))
    axes[0].set_ylabel("mel band")
    axes[0].set_title(
        "log-mel; below it speech, noise or silence; blue line: F0, where voiced", loc="left", fontsize=9
    )
    for axis, found in zip(axes[1:], maps, strict=True):
        axis.imshow(
            mel_FN, origin="lower", aspect="auto", extent=extent, cmap="Greys", vmin=low, vmax=high,
            interpolation="nearest",
        )  # fmt: skip
        values_FN = _columns(_smoothed(found.values_FT, hop_s))
        limit = float(np.quantile(np.abs(values_FN), 0.99)) or 1.0
        axis.imshow(
            np.broadcast_to(values_FN, (max(2, len(values_FN)), values_FN.shape[1])), origin="lower",
            aspect="auto", extent=extent, cmap=_RELEVANCE, vmin=-limit, vmax=limit, alpha=0.55,
            interpolation="nearest",
        )  # fmt: skip
        axis.set_ylabel("mel band")
        method = METHODS[found.method]
        doubt = "" if method.kept else "  (not kept: see docs/explain.md)"
        axis.set_title(f"{method.title}: {found.target} {found.score:.3f}{doubt}", loc="left", fontsize=9)
    axes[-1].set_xlabel("seconds; red speaks for the score, blue against it")
    return _png(figure)


def draw_attention(maps: Sequence[AttentionMap], kinds: Sequence[str], hop_s: float) -> bytes:
    """Weight over time of every module with attention; self-attention as well as a square of one head."""
    squares = [found for found in maps if found.between_HTT is not None]
    rows = len(maps) + (1 if squares else 0)
    heights = [1.0] * len(maps) + ([2.2] if squares else [])
    figure = _figure(_WIDTH, 0.8 + 1.25 * sum(heights))
    grid = figure.add_gridspec(rows, max(1, min(4, len(squares))), height_ratios=heights)
    seconds = len(kinds) * hop_s
    for row, found in enumerate(maps):
        axis = figure.add_subplot(grid[row, :])
        weight_T = found.over_time_T * len(found.over_time_T)
        time_T = (np.arange(len(weight_T)) + 0.5) * seconds / len(weight_T)
        if 1 < len(found.heads_HT) <= 8:
            for head_T in found.heads_HT:
                axis.plot(time_T, head_T * len(head_T), linewidth=0.6, alpha=0.6)
        axis.plot(time_T, weight_T, color="black", linewidth=1.1)
        axis.axhline(1, color="0.6", linewidth=0.6, linestyle="--")
        _mark_kinds(axis, kinds, hop_s, 0.0, -0.12 * max(1.0, float(weight_T.max())))
        axis.set_xlim(0, seconds)
        axis.set_ylabel("weight × T")
        axis.set_title(f"attention of {found.layer or 'the network'}", loc="left", fontsize=9)
    for column, found in enumerate(squares[:4]):
        assert found.between_HTT is not None
        axis = figure.add_subplot(grid[-1, column])
        axis.imshow(_columns(found.between_HTT.mean(0)), aspect="auto", cmap="magma", origin="upper")
        axis.set_title(found.layer, fontsize=8)
        axis.set_xticks([])
        axis.set_yticks([])
    return _png(figure)


def draw_layers(layers: Sequence[str], scores: Mapping[str, Mapping[str, ProbeScore]]) -> bytes:
    """What each depth knows: probe scores from chance (0) to perfect (1), the spectrum first."""
    tasks = sorted(scores, key=lambda task: _centre(layers, scores[task]))
    table = np.full((len(tasks), len(layers)), np.nan)
    for row, task in enumerate(tasks):
        for column, layer in enumerate(layers):
            if layer in scores[task]:
                table[row, column] = max(0.0, scores[task][layer].above_chance)
    figure = _figure(1.9 + 0.75 * len(layers), 1.5 + 0.36 * len(tasks))
    axis = figure.subplots()
    image = axis.imshow(table, aspect="auto", cmap="viridis", vmin=0, vmax=1)
    for row, task in enumerate(tasks):
        for column, layer in enumerate(layers):
            if layer in scores[task]:
                shade = "white" if table[row, column] < 0.6 else "black"
                text = f"{scores[task][layer].score:.2f}"
                axis.text(column, row, text, ha="center", va="center", color=shade, fontsize=8)
    axis.set_xticks(range(len(layers)), layers, rotation=35, ha="right", fontsize=8)
    axis.set_yticks(range(len(tasks)), [_described(scores[task]) for task in tasks], fontsize=8)
    figure.colorbar(image, ax=axis, label="chance = 0, perfect = 1", fraction=0.04)
    axis.set_title(
        "what can be read off each layer: balanced accuracy, or R² of numbers", loc="left", fontsize=9
    )
    return _png(figure)


def draw_similarity(
    table: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, names: tuple[str, str]
) -> bytes:
    """Linear CKA of the layers of two networks (or of one with itself)."""
    figure = _figure(2.6 + 0.6 * len(columns), 2.2 + 0.42 * len(rows))
    axis = figure.subplots()
    image = axis.imshow(table, cmap="magma", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(table.shape):
        shade = "white" if table[row, column] < 0.6 else "black"
        axis.text(column, row, f"{table[row, column]:.2f}", ha="center", va="center", color=shade, fontsize=7)
    axis.set_xticks(range(len(columns)), columns, rotation=35, ha="right", fontsize=8)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.set_xlabel(names[1])
    axis.set_ylabel(names[0])
    figure.colorbar(image, ax=axis, label="linear CKA", fraction=0.04)
    return _png(figure)


def draw_bars(values: Mapping[str, float], *, label: str, marks: Mapping[str, float] | None = None) -> bytes:
    """Horizontal bars, with a mark such as chance on each."""
    figure = _figure(_WIDTH * 0.7, 0.9 + 0.3 * len(values))
    axis = figure.subplots()
    names = list(values)
    axis.barh(range(len(names)), [values[name] for name in names], color="#1f6f8b", height=0.6)
    if marks:
        axis.plot(
            [marks[name] for name in names if name in marks],
            [at for at, name in enumerate(names) if name in marks],
            "|", color="#b05c2a", markersize=12, markeredgewidth=2,
        )  # fmt: skip
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(label)
    return _png(figure)


def draw_profile(profile_F: np.ndarray, all_F: np.ndarray, *, title: str) -> bytes:
    """A mean spectrum next to that of all utterances, in mel bands."""
    figure = _figure(_WIDTH * 0.55, 2.3)
    axis = figure.subplots()
    axis.plot(all_F, color="0.6", label="all utterances")
    axis.plot(profile_F, color="#1f6f8b", label="members")
    axis.set_xlabel("mel band")
    axis.set_ylabel("log power")
    axis.legend(fontsize=7, frameon=False)
    axis.set_title(title, loc="left", fontsize=9)
    return _png(figure)


def draw_activations(activation_CT: np.ndarray, layer: str, seconds: float) -> bytes:
    """The activations of all channels of a layer (C, T), those that vary most on top."""
    order = np.argsort(-activation_CT.std(1))
    shown = activation_CT[order]
    shown = (shown - shown.mean(1, keepdims=True)) / (shown.std(1, keepdims=True) + 1e-8)
    figure = _figure(_WIDTH, 3.0)
    axis = figure.subplots()
    axis.imshow(
        _columns(shown), aspect="auto", cmap="RdBu_r", vmin=-2.5, vmax=2.5,
        extent=(0.0, seconds, float(len(shown)), 0.0), interpolation="nearest",
    )  # fmt: skip
    axis.set_xlabel("seconds")
    axis.set_ylabel("channel, by variance")
    axis.set_title(f"activations of {layer}, every channel in units of its deviation", loc="left", fontsize=9)
    return _png(figure)


def as_pixels(png: bytes) -> np.ndarray:
    """A PNG as (H, W, 3) uint8, for TensorBoard."""
    import matplotlib.image

    pixels_HWC: np.ndarray = matplotlib.image.imread(io.BytesIO(png), format="png")
    return (pixels_HWC[..., :3] * 255).round().astype(np.uint8)


def _described(by_layer: Mapping[str, ProbeScore]) -> str:
    score = next(iter(by_layer.values()))
    return f"{score.task} ({score.num_classes} classes)" if score.num_classes else score.task


def _centre(layers: Sequence[str], by_layer: Mapping[str, ProbeScore]) -> float:
    """Depth at which a task is read off best, weighted by how well."""
    weights = np.array(
        [max(0.0, by_layer[layer].above_chance) if layer in by_layer else 0.0 for layer in layers]
    )
    return float((weights**4 @ np.arange(len(layers))) / max(1e-12, float((weights**4).sum())))


def _mark_frames(axis: Axes, pitch: Pitch, kinds: Sequence[str], hop_s: float, num_mels: int) -> None:
    time_T = (np.arange(len(pitch.f0_hz)) + 0.5) * hop_s
    # F0 from 50 to 500 Hz over the lower half of the picture, on its own scale
    axis.plot(
        time_T,
        (np.log2(pitch.f0_hz) - np.log2(50)) / np.log2(10) * num_mels / 2,
        color="#2b7bbd",
        linewidth=1.4,
    )
    _mark_kinds(axis, kinds, hop_s, 0.0, -0.09 * num_mels)


def draw_group_rates(groups: Sequence[GroupRates], overall: tuple[float, float]) -> bytes:
    """Missed targets and false alarms of groups of trials with their intervals, a panel for each grouping.

    Args:
        groups: at the threshold of all trials.
        overall: miss and false alarm rate of all trials.
    """
    titles = list(dict.fromkeys(one.grouping for one in groups))
    panels = [[one for one in groups if one.grouping == title] for title in titles]
    heights = [0.7 + 0.32 * len(panel) for panel in panels]
    figure = _figure(_WIDTH, sum(heights) + 0.5)
    every = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights, sharex=True)[:, 0]
    for axes, title, panel in zip(every, titles, panels, strict=True):
        for shift, colour, name, total, values in (
            (-0.16, "#b5402f", "missed targets", overall[0], [(p.miss, p.miss_interval) for p in panel]),
            (
                0.16,
                "#2f5fb5",
                "false alarms",
                overall[1],
                [(p.false_alarm, p.false_alarm_interval) for p in panel],
            ),
        ):
            axes.axvline(100 * total, color=colour, linestyle="--", linewidth=0.8)
            axes.plot([], [], "o-", color=colour, markersize=4, label=name)
            for at, (rate, interval) in enumerate(values):
                if rate is None:
                    continue
                axes.plot(
                    100 * rate, at + shift, "o", color=colour, markersize=4, label=name if not at else None
                )
                if interval is not None:
                    ends = [100 * interval.low, 100 * interval.high]
                    axes.plot(ends, [at + shift] * 2, color=colour, linewidth=1.5)
        names = [f"{one.group} ({one.num_target:,} | {one.num_nontarget:,})" for one in panel]
        axes.set_yticks(range(len(panel)), names, fontsize=8)
        axes.invert_yaxis()
        axes.set_title(f"by {title} (targets | non-targets)", loc="left", fontsize=9)
        axes.grid(axis="x", linewidth=0.3)
    every[0].set_xlim(left=0)  # of all, now that all are drawn
    every[0].legend(fontsize=8, loc="best")
    every[-1].set_xlabel("error rate, %")
    return _png(figure)


def _mark_kinds(axis: Axes, kinds: Sequence[str], hop_s: float, top: float, height: float) -> None:
    """A strip that says what every frame is."""
    kind_T = np.array(kinds)
    for kind, colour in _KIND_COLOURS.items():
        edges = np.flatnonzero(np.diff(np.concatenate([[0], (kind_T == kind).astype(int), [0]])))
        spans = [(start * hop_s, (end - start) * hop_s) for start, end in edges.reshape(-1, 2)]
        axis.broken_barh(spans, (top, height), color=colour, linewidth=0)
    low, high = axis.get_ylim()
    axis.set_ylim(min(low, top + height), high)


def _smoothed(values_FT: np.ndarray, hop_s: float) -> np.ndarray:
    """A map as the eye reads it: averaged over 0.1 s and, where it has bands, over five of them."""
    from scipy.ndimage import uniform_filter

    return np.asarray(uniform_filter(values_FT, (min(5, len(values_FT)), max(1, round(0.1 / hop_s)))))


def _columns(values: np.ndarray) -> np.ndarray:
    """At most so many columns, each the mean of its frames."""
    if values.shape[1] <= _MOST_COLUMNS:
        return values
    starts = np.linspace(0, values.shape[1], _MOST_COLUMNS, endpoint=False).astype(int)
    sums = np.add.reduceat(values, starts, axis=1)
    return sums / np.diff([*starts, values.shape[1]])


def _figure(width: float, height: float) -> Figure:
    """A figure of its own: no global state, no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, dpi=_DPI, format="png")
    return stream.getvalue()
