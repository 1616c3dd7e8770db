"""Several models as one: the mean of their weights, of their embeddings or of their scores.

Whatever is fitted (whitening, rotation, calibration, fusion) is fitted to other people than those that the
figures are of. So is the choice of the best single model, which every ensemble is compared with.

Shapes: M utterances, N trials, D embedding, S models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdpn.errors import InputError
from sdpn.experiments.held_out import HeldOutTrials, ScoreComparison
from sdpn.interop.load import load_model
from sdpn.io.trials import Trials, write_trial_scores
from sdpn.models.averaging import average_models
from sdpn.models.embedder import Embedder
from sdpn.models.folder import ModelFolder, is_model_folder, read_model, save_model
from sdpn.models.speaker_embedder import SpeakerEmbedder
from sdpn.progress import Report, unreported
from sdpn.training.comparison import refuse_shared_speech
from sdpn.verification.calibration import fit_calibration
from sdpn.verification.similarity import unit_rows

#: Least variance of a direction after which it is whitened, relative to the mean: what is below is noise.
_FLOOR = 0.05


class EnsembleRow(NamedTuple):
    """A model or an ensemble.

    Attributes:
        name: of it.
        is_single: whether it is one of the models.
        compared: its EER, and the difference to the best single model.
        fit_eer: EER on the trials that everything is fitted to; too good for what is fitted.
        scores: of the trials, (N,).
    """

    name: str
    is_single: bool
    compared: ScoreComparison
    fit_eer: float
    scores: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """As plain values, without the scores."""
        return {
            "name": self.name,
            "single": self.is_single,
            **self.compared.to_dict(),
            "eer_low": self.compared.interval.low,
            "eer_high": self.compared.interval.high,
            "fit_eer": self.fit_eer,
        }


@dataclass(frozen=True, eq=False)
class Ensembles:
    """All rows.

    Attributes:
        rows: single models first.
        best_single: number of the one that is best on the other people.
        average: the mean of the weights; None where models have none.
        notes: which ensembles there are not, and why.
        trials: what the figures are of.
    """

    rows: list[EnsembleRow]
    best_single: int
    average: ModelFolder | None
    notes: list[str]
    trials: Trials

    def save(self, out: Path) -> None:
        """Write ``OUT/scores/NAME.txt`` of every row, and the mean of the weights as ``OUT/weights``."""
        (out / "scores").mkdir(parents=True, exist_ok=True)
        for row in self.rows:
            name = re.sub(r"[^\w.-]+", "-", row.name).strip("-")
            write_trial_scores(out / "scores" / f"{name}.txt", self.trials, row.scores)
        if self.average is not None:
            save_model(out / "weights", self.average)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "best_single": self.rows[self.best_single].name,
            "notes": self.notes,
            "rows": [row.to_dict() for row in self.rows],
        }


@dataclass(frozen=True, eq=False)
class Whitening:
    """Subtracts the mean and makes all directions alike, without turning them (ZCA).

    Source: Bell and Sejnowski, Vision Research 37, 1997. Directions with less than a twentieth of the mean
    variance are taken to have that much.

    Attributes:
        mean_D: of what it is fitted to.
        matrix_DD: symmetric.
    """

    mean_D: np.ndarray
    matrix_DD: np.ndarray

    @classmethod
    def fit(cls, rows_MD: np.ndarray) -> Whitening:
        """Fit to embeddings, more of them than dimensions."""
        unit_MD = unit_rows(rows_MD)
        mean_D = unit_MD.mean(0)
        values_D, vectors_DD = np.linalg.eigh(np.cov((unit_MD - mean_D).T))
        scale_D = 1 / np.sqrt(np.maximum(values_D, _FLOOR * values_D.mean()))
        return cls(mean_D, (vectors_DD * scale_D) @ vectors_DD.T)

    def __call__(self, rows_MD: np.ndarray) -> np.ndarray:
        """Embeddings of length 1, (M, D)."""
        return unit_rows((unit_rows(rows_MD) - self.mean_D) @ self.matrix_DD)


def compare_ensembles(
    paths: Sequence[Path],
    held_out: HeldOutTrials,
    fit: HeldOutTrials,
    *,
    seed: int = 0,
    on_progress: Report = unreported,
) -> Ensembles:
    """Measure models alone and together.

    - weights: the mean of their weights (`sdpn.models.averaging`), one network as fast as each;
    - embeddings, concatenated: each whitened and of length 1, one behind the other: the cosine is then the
      mean of the single ones;
    - embeddings, mean: each whitened and turned onto the first (orthogonal Procrustes), then the mean: of the
      size of one;
    - scores, mean: of the log-likelihood ratios that cosines are calibrated to;
    - scores, fused: weighted by logistic regression.

    Args:
        paths: S models of any supported kind, at least two.
        held_out: what the figures are of.
        fit: other people, with trials.
        seed: of the bootstrap.
        on_progress: called with what is done, how much of it, and of how much.

    Raises:
        InputError: the two sets share an utterance, a model is given twice, or one cannot be read.
    """
    if len(paths) < 2:
        raise InputError("an ensemble has at least two models")
    refuse_shared_speech(fit.utterances, held_out.utterances, ("--fit", "--data"))
    names = _names(paths)
    models = [load_model(path) for path in paths]
    folders = [read_model(path) if is_model_folder(path) else None for path in paths]
    average, notes = None, []
    try:
        if not all(folders):
            raise InputError("not all models are model folders (sdpn convert makes one)")
        average = average_models([one for one in folders if one is not None], paths)
    except InputError as error:
        notes.append(f"no mean of weights: {error}")

    def embedded(name: str, model: SpeakerEmbedder) -> list[np.ndarray]:
        return [
            one.embed(model, lambda done, of: on_progress(f"embedding {name}", done, of))
            for one in (held_out, fit)
        ]

    rows = [embedded(name, model) for name, model in zip(names, models, strict=True)]
    every: list[tuple[str, np.ndarray, np.ndarray]] = [
        (name, held_out.cosines(ours), fit.cosines(theirs))
        for name, (ours, theirs) in zip(names, rows, strict=True)
    ]
    width = max(theirs.shape[1] for _, theirs in rows)
    if len(fit.utterances) < 2 * width:
        notes.append(
            f"whitening of {width} dimensions is fitted to {len(fit.utterances)} utterances, which is too "
            f"few: give --fit {2 * width} or more"
        )
    best = int(np.argmin([fit.eer(theirs) for _, _, theirs in every]))
    white = []
    for ours, theirs in rows:
        whitening = Whitening.fit(theirs)
        white.append((whitening(ours), whitening(theirs)))
    every.append((f"{names[best]}, whitened", held_out.cosines(white[best][0]), fit.cosines(white[best][1])))
    if average is not None:
        ours, theirs = embedded("their mean", Embedder(average))
        every.append(("weights, mean", held_out.cosines(ours), fit.cosines(theirs)))
    joined = [np.concatenate(sides, axis=1) for sides in zip(*white, strict=True)]
    every.append(("embeddings, concatenated", held_out.cosines(joined[0]), fit.cosines(joined[1])))
    mean = _turned_mean(white)
    every.append(("embeddings, mean", held_out.cosines(mean[0]), fit.cosines(mean[1])))
    try:
        every += _score_ensembles(every[: len(models)], fit)
    except InputError as error:
        notes.append(f"no ensemble of scores: {error}")
    compare = held_out.comparison(every[best][1], seed=seed)
    found = [
        EnsembleRow(name, at < len(models), compare(ours), fit.eer(theirs), ours)
        for at, (name, ours, theirs) in enumerate(every)
    ]
    return Ensembles(found, best, average, notes, held_out.trials)


def _names(paths: Sequence[Path]) -> list[str]:
    """Short names that differ: the last parts of the paths."""
    for parts in range(1, 1 + max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise InputError("is given twice", path=paths[0], hint="an ensemble of equal models is that model")


def _turned_mean(white: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean of whitened embeddings, each turned onto the first as the other people say."""
    from scipy.linalg import orthogonal_procrustes

    width = max(theirs.shape[1] for _, theirs in white)

    def padded(rows_MD: np.ndarray) -> np.ndarray:
        return np.pad(rows_MD, ((0, 0), (0, width - rows_MD.shape[1])))

    target = padded(white[0][1])
    ours_sum, theirs_sum = padded(white[0][0]), target
    for ours, theirs in white[1:]:
        turn_DD, _ = orthogonal_procrustes(padded(theirs), target)
        ours_sum = ours_sum + padded(ours) @ turn_DD
        theirs_sum = theirs_sum + padded(theirs) @ turn_DD
    return ours_sum, theirs_sum


def _score_ensembles(
    singles: Sequence[tuple[str, np.ndarray, np.ndarray]], fit: HeldOutTrials
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Mean of calibrated scores, and their fusion by logistic regression at equal priors.

    Raises:
        InputError: a model is no better than chance.
    """
    from sklearn.linear_model import LogisticRegression

    is_target = fit.trials.is_target
    calibrations = []
    for name, _, theirs in singles:
        try:
            calibrations.append(fit_calibration(theirs, is_target))
        except InputError as error:
            raise InputError(f"{name}: {error.message}") from None
    ours_NS = np.stack([each(ours) for each, (_, ours, _) in zip(calibrations, singles, strict=True)], axis=1)
    theirs_NS = np.stack(
        [each(theirs) for each, (_, _, theirs) in zip(calibrations, singles, strict=True)], axis=1
    )
    fusion = LogisticRegression(class_weight="balanced", max_iter=1000).fit(theirs_NS, is_target)
    return [
        ("scores, mean", ours_NS.mean(1), theirs_NS.mean(1)),
        ("scores, fused", fusion.decision_function(ours_NS), fusion.decision_function(theirs_NS)),
    ]
