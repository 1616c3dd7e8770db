"""What pruning a model costs: error rate and size of its copies with more and more zeros."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdpn.errors import InputError
from sdpn.experiments.held_out import HeldOutTrials, ScoreComparison
from sdpn.io.atomic import atomic_path
from sdpn.models.embedder import Embedder
from sdpn.models.encoder import Encoder
from sdpn.models.folder import ModelFolder, is_model_folder, read_model, save_model
from sdpn.models.pruning import prune_by_magnitude
from sdpn.models.small_storage import Bits
from sdpn.progress import Report, unreported

#: Seconds of noise whose embedding is timed, and how often.
_TIMED_S, _TIMES = 4.0, 9


class PrunedModel(NamedTuple):
    """A copy of a model.

    Attributes:
        share: of the weights of its linear layers and convolutions that were set to zero.
        bits: in which the others are stored.
        zeros: share of all its parameters that are zero.
        num_bytes: of its model.safetensors.
        ms: to embed four seconds, median; beside other work on the machine only roughly right.
        compared: EER, and the difference to the model as it was.
        folder: where it was written.
        empty_layers: layers that have lost all weights.
    """

    share: float
    bits: Bits
    zeros: float
    num_bytes: int
    ms: float
    compared: ScoreComparison
    folder: Path
    empty_layers: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        plain = self._asdict()
        del plain["compared"]
        return plain | {"folder": str(self.folder)} | self.compared.to_dict()


@dataclass(frozen=True)
class Pruning:
    """All copies of a model.

    Attributes:
        num_bytes: of its own model.safetensors.
        rows: its copies, by share and then as the bits were given.
    """

    num_bytes: int
    rows: list[PrunedModel]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {"bytes_before": self.num_bytes, "rows": [row.to_dict() for row in self.rows]}


def prune_model(
    path: Path,
    held_out: HeldOutTrials,
    out: Path,
    shares: Sequence[float] = (0.3, 0.5, 0.7, 0.8, 0.9),
    bits: Sequence[Bits] = (32, 8),
    *,
    seed: int = 0,
    on_progress: Report = unreported,
) -> Pruning:
    """Write pruned copies of a model folder, read them again, measure each, and draw ``OUT/pruning.png``.

    Args:
        path: the model folder.
        held_out: trials of people whom it was not trained on.
        out: folder of the copies, ``share-S-Bbit``, and of the picture.
        shares: of weights set to zero, in [0, 1); 0 is measured as well.
        bits: in which weights are stored; each share with each.
        seed: of the bootstrap.
        on_progress: called with what is done, how much of it, and of how much.

    Raises:
        InputError: it is no model folder, or a share is out of range.
    """
    if not is_model_folder(path):
        raise InputError(
            "is not a model folder of sdpn", path=path, hint="make one: sdpn convert --model M --out DIR"
        )
    for share in shares:
        if not 0 <= share < 1:
            raise InputError(
                f"--share {share:g} is not in [0, 1)", hint="0.5 sets half of the weights to zero"
            )
    model = read_model(path)
    scores = _scores(model, held_out, "as it was", on_progress)
    compare = held_out.comparison(scores, seed=seed)
    found = []
    for share in sorted({0.0, *shares}):
        pruned = prune_by_magnitude(model.encoder, share)
        assert isinstance(pruned.network, Encoder)
        for width in bits:
            folder = out / f"share-{share:g}-{width}bit"
            source = {**model.source, "pruned": share, "bits": width}
            save_model(
                folder, replace(model, encoder=pruned.network, calibration={}, source=source), bits=width
            )
            again = read_model(folder)
            ours = _scores(again, held_out, folder.name, on_progress)
            found.append(
                PrunedModel(
                    share=share,
                    bits=width,
                    zeros=pruned.share,
                    num_bytes=(folder / "model.safetensors").stat().st_size,
                    ms=_milliseconds(again),
                    compared=compare(ours),
                    folder=folder,
                    empty_layers=pruned.empty_layers,
                )
            )
    with atomic_path(out / "pruning.png") as temporary:
        draw_pruning(found, temporary)
    return Pruning((path / "model.safetensors").stat().st_size, found)


def _scores(model: ModelFolder, held_out: HeldOutTrials, name: str, on_progress: Report) -> np.ndarray:
    rows = held_out.embed(Embedder(model), lambda done, of: on_progress(f"embedding {name}", done, of))
    return held_out.cosines(rows)


def _milliseconds(model: ModelFolder) -> float:
    embedder = Embedder(replace(model, encoder=copy.deepcopy(model.encoder)))
    wave_S = (0.1 * np.random.default_rng(0).standard_normal(int(16_000 * _TIMED_S))).astype(np.float32)
    taken = []
    for _ in range(_TIMES + 1):
        start = time.perf_counter()
        embedder.embed(wave_S, 16_000)
        taken.append(time.perf_counter() - start)
    return 1000 * float(np.median(taken[1:]))


def draw_pruning(rows: Sequence[PrunedModel], path: Path) -> None:
    """Draw EER against the size of the file, a line for each number of bits; bars: 95 % interval."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for width in sorted({row.bits for row in rows}, reverse=True):
        chosen = [row for row in rows if row.bits == width]
        sizes = [row.num_bytes / 1e6 for row in chosen]
        rates = [100 * row.compared.eer for row in chosen]
        bars = [
            [max(0.0, 100 * (row.compared.eer - row.compared.interval.low)) for row in chosen],
            [max(0.0, 100 * (row.compared.interval.high - row.compared.eer)) for row in chosen],
        ]
        axes.errorbar(sizes, rates, yerr=bars, fmt="o-", capsize=3, label=f"{width} bits")
        for row, size, rate in zip(chosen, sizes, rates, strict=True):
            axes.annotate(
                f"{100 * row.share:g} %", (size, rate), textcoords="offset points", xytext=(4, 5), fontsize=7
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):  # 0.6 and 20, not powers of ten
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}")
    axes.set_xlabel("size of model.safetensors, MB (labels: share of weights set to zero)")
    axes.set_ylabel("EER, %")
    axes.grid(which="both", linewidth=0.3)
    axes.legend()
    figure.savefig(path, dpi=100, format="png")
