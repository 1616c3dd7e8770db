"""Cross-validation of a training: it is repeated without each fold, and tested on that fold.

Shapes: N utterances, D embedding, K classes.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdpn.errors import InputError
from sdpn.experiments.folds import By, Fold, write_folds
from sdpn.experiments.held_out import read_held_out
from sdpn.extraction.embed_corpus import embed_corpus
from sdpn.interop.load import load_model
from sdpn.io.checksum import file_sha256
from sdpn.io.kaldi import read_data_dir
from sdpn.metrics.bootstrap import Interval, bootstrap_interval, percentile_interval
from sdpn.metrics.classification import classification_figures
from sdpn.models.classifier import read_classifier
from sdpn.models.speaker_embedder import SpeakerEmbedder
from sdpn.tuning.trials import read_trials_table, write_trials_table

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class FoldResult:
    """What one fold gave.

    Attributes:
        fold: its number, from 1.
        model: the model that was not trained on it.
        figures: by name: ``eer`` and maybe ``eer_before`` by speaker; ``accuracy``, ``precision``, ``recall``
            and ``f1`` by utterance.
        wrong: by utterance, of each speaker the wrong and all utterances; by speaker empty.
        resampled: by speaker, EERs of resamples of its speakers, and of the model before on the same.
    """

    fold: int
    model: str
    figures: dict[str, float]
    wrong: dict[str, list[int]] = field(default_factory=dict)
    resampled: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, line: dict[str, Any]) -> FoldResult:
        """From its line of the table."""
        return cls(
            fold=int(line["fold"]),
            model=str(line["model"]),
            figures={str(name): float(value) for name, value in line["figures"].items()},
            wrong={str(name): [int(one) for one in pair] for name, pair in line["wrong"].items()},
            resampled={str(name): list(map(float, each)) for name, each in line["resampled"].items()},
        )


@dataclass(frozen=True, kw_only=True)
class CrossValidated:
    """All folds together.

    Attributes:
        folds: what each gave.
        mean: of each figure, over folds.
        deviation: standard deviation of each over folds; NaN for one.
        interval: 95 %, over speakers, of the EER (mean of the folds) or of the accuracy.
        difference: EER less that of the model before, mean of the folds; None without one.
        difference_interval: of it, paired.
    """

    folds: list[FoldResult]
    mean: dict[str, float]
    deviation: dict[str, float]
    interval: Interval | None
    difference: float | None
    difference_interval: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "folds": [{"fold": one.fold, "model": one.model, **one.figures} for one in self.folds],
            "mean": self.mean,
            "deviation": self.deviation,
            "interval": _ends(self.interval),
            "difference": self.difference,
            "difference_interval": _ends(self.difference_interval),
        }


def cross_validate(
    data: Path,
    train: Callable[[Path, Path], dict[str, Any]],
    out: Path,
    *,
    folds: int = 5,
    by: By = "speaker",
    before: SpeakerEmbedder | None = None,
    seed: int = 0,
    made_from: str,
    force: bool = False,
    on_fold: Callable[[FoldResult], None] = lambda _result: None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> CrossValidated:
    """Repeat a training without each fold of its data, and test every model on the fold it has not heard.

    ``OUT/folds`` has the data directories of the folds (`sdpn.experiments.folds.write_folds`),
    ``OUT/folds.jsonl`` what is finished: called again, the rest is done.

    Args:
        data: a Kaldi data directory with utt2spk.
        train: runs the training on a data directory into a folder; its results name the ``model``.
        out: folder of ``fold-1/`` and so on.
        folds: how many.
        by: what is left out: speakers, whose trials are scored by cosine, or utterances, which are
            classified.
        before: by speaker, a model that is measured on the same trials.
        seed: of the folds and their trials.
        made_from: identifies the training: figures of another one are refused.
        force: start again.
        on_fold: called with what each gave.
        on_progress: called with (done, total) utterances that are embedded.

    Raises:
        InputError: the folds cannot be made, a training fails, its model has no classes, or a table of other
            folds is in ``out``.
    """
    if before is not None and by == "utterance":
        raise InputError("--before is for --by speaker: the model before has no classes of these speakers")
    if force:
        shutil.rmtree(out / "folds", ignore_errors=True)
    divided = write_folds(data, out / "folds", folds, by=by, seed=seed)
    sources = [file_sha256(data / name) for name in ("wav.scp", "utt2spk")]
    identity = [made_from, by, folds, seed, *sources, None if before is None else before.fingerprint]
    table = out / "folds.jsonl"
    made_from = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
    done = [] if force else read_trials_table(table, made_from, FoldResult.of)
    for number, fold in enumerate(divided, start=1):
        if number > len(done):
            folder = out / f"fold-{number}"
            if force:
                shutil.rmtree(folder, ignore_errors=True)
            model = Path(train(fold.train, folder)["model"])
            test = _verified if by == "speaker" else _classified
            done.append(test(number, fold, model, before, on_progress))
            write_trials_table(table, made_from, done)
        on_fold(done[number - 1])
    names = list(done[0].figures)
    values = {name: np.array([one.figures[name] for one in done]) for name in names}
    difference = difference_interval = None
    if by == "speaker":
        drawn = _mean_of_folds([one.resampled["eer"] for one in done])
        interval: Interval | None = percentile_interval(drawn, _CONFIDENCE)
        if before is not None:
            difference = float((values["eer"] - values["eer_before"]).mean())
            drawn_before = _mean_of_folds([one.resampled["eer_before"] for one in done])
            shared = min(len(drawn), len(drawn_before))
            difference_interval = percentile_interval(drawn[:shared] - drawn_before[:shared], _CONFIDENCE)
    else:
        wrong, total = _by_speaker(done)
        rate = bootstrap_interval(wrong, total, confidence=_CONFIDENCE)
        interval = None if rate is None else Interval(1 - rate.high, 1 - rate.low, rate.confidence)
    return CrossValidated(
        folds=done,
        mean={name: float(each.mean()) for name, each in values.items()},
        deviation={
            name: float(each.std(ddof=1)) if len(each) > 1 else np.nan for name, each in values.items()
        },
        interval=interval,
        difference=difference,
        difference_interval=difference_interval,
    )


def _verified(
    number: int,
    fold: Fold,
    model: Path,
    before: SpeakerEmbedder | None,
    on_progress: Callable[[int, int], None],
) -> FoldResult:
    """EER among the left-out speakers."""
    held_out = read_held_out(fold.test)
    figures, resampled = {}, {}
    models = {"eer": load_model(model)} | ({} if before is None else {"eer_before": before})
    for name, one in models.items():
        scores = held_out.cosines(held_out.embed(one, on_progress))
        figures[name] = held_out.eer(scores)
        # the same resamples for both, and others in every fold
        resampled[name] = held_out.resampled(scores, seed=number).tolist()
    return FoldResult(number, str(model), figures, resampled=resampled)


def _classified(
    number: int,
    fold: Fold,
    model: Path,
    _before: SpeakerEmbedder | None,
    on_progress: Callable[[int, int], None],
) -> FoldResult:
    """Accuracy on the left-out utterances."""
    classifier, embedder = read_classifier(model), load_model(model)
    utterances = read_data_dir(fold.test)
    rows = embed_corpus(embedder, utterances, on_progress=on_progress)
    rows_ND = np.concatenate([each.embeddings_ND for each in rows])
    found = np.array(classifier.names_of(classifier.logits(torch.from_numpy(rows_ND))))
    truth = np.array([one.speaker or "" for one in utterances])
    wrong: dict[str, list[int]] = {}
    for speaker, is_wrong in zip(truth.tolist(), (found != truth).tolist(), strict=True):
        counts = wrong.setdefault(speaker, [0, 0])
        counts[0] += is_wrong
        counts[1] += 1
    return FoldResult(number, str(model), classification_figures(truth, found), wrong=wrong)


def _mean_of_folds(drawn: Sequence[Sequence[float]]) -> np.ndarray:
    """Of each resample, the mean over folds; a fold may have fewer resamples than another."""
    fewest = min(map(len, drawn))
    mean: np.ndarray = np.mean([each[:fewest] for each in drawn], axis=0)
    return mean


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _by_speaker(folds: Sequence[FoldResult]) -> tuple[np.ndarray, np.ndarray]:
    counts: dict[str, list[int]] = {}
    for one in folds:
        for speaker, (wrong, total) in one.wrong.items():
            whole = counts.setdefault(speaker, [0, 0])
            whole[0] += wrong
            whole[1] += total
    values = np.array(list(counts.values()), dtype=float)
    return values[:, 0], values[:, 1]
