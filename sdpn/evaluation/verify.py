"""Verification trials from files: their scores, and every figure that ``sdpn verify`` prints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.errors import InputError
from sdpn.io.kaldi import read_table
from sdpn.io.trials import Trials, read_trials
from sdpn.metrics.verification import cllr
from sdpn.metrics.verification_figures import VerificationFigures, verification_figures
from sdpn.verification.calibration import Calibration, fit_calibration
from sdpn.verification.storage import read_back_end
from sdpn.verification.trial_list import score_trial_list, speakers_of_trials

_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class Verification:
    """Scored trials and their error rates.

    Attributes:
        figures: EER with its interval, minDCF, Cllr, and both error rates at every threshold.
        trials: what was scored.
        scores: (N,), higher for more similar speakers.
        steps: how the scores came about, in words, the kind of score first.
        is_normalised: whether AS-norm came last.
        interval: how the interval of the EER was computed, in words.
        calibration: fitted to these trials, where that was asked for.
        calibrated_cllr: Cllr of the log-likelihood ratios of the back end's calibration; None if it has none.
    """

    figures: VerificationFigures
    trials: Trials
    scores: np.ndarray
    steps: list[str]
    is_normalised: bool
    interval: str
    calibration: Calibration | None = None
    calibrated_cllr: float | None = None

    @property
    def num_target(self) -> int:
        """Trials of the same speaker."""
        return int(self.trials.is_target.sum())

    @property
    def num_nontarget(self) -> int:
        """Trials of different speakers."""
        return len(self.trials) - self.num_target

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON."""
        found = self.figures
        return {
            "eer": found.eer,
            "min_dcf_001": found.min_dcf_001,
            "min_dcf_005": found.min_dcf_005,
            "num_target": self.num_target,
            "num_nontarget": self.num_nontarget,
            "threshold": found.threshold,
            "eer_low": found.interval.low,
            "eer_high": found.interval.high,
            "eer_interval": self.interval,
            "cllr": found.cllr,
            "min_cllr": found.min_cllr,
            "scores": ", ".join(self.steps),
            **({} if self.calibrated_cllr is None else {"calibrated_cllr": self.calibrated_cllr}),
        }


def verify(
    trials: Path,
    embeddings: Path,
    *,
    back_end: Path | None = None,
    mean: Path | None = None,
    plda: Path | None = None,
    cohort: Path | None = None,
    top: int = 300,
    utt2spk: Path | None = None,
    utt2dur: Path | None = None,
    calibrate: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> Verification:
    """Score a list of trials between the embeddings of a table, and measure the scores.

    Args:
        trials: list in the format of VoxCeleb or Kaldi (`sdpn.io.trials.read_trials`).
        embeddings: Kaldi scp or ark.
        back_end: see `sdpn.verification.trial_list.score_trial_list`, as for the next four.
        mean: subtracted first.
        plda: in place of the cosine.
        cohort: for AS-norm.
        top: number of cohort scores for AS-norm.
        utt2spk: 'utterance speaker' lines; the bootstrap then resamples speakers instead of trials.
        utt2dur: 'utterance seconds' lines, for calibration; None takes the usual length for all.
        calibrate: fit a calibration of the back end to these trials.
        resamples: of the bootstrap.
        seed: random seed of the bootstrap.

    Raises:
        InputError: a file cannot be read, an utterance has no embedding, or all trials are of one kind.
    """
    listed = read_trials(trials)
    num_target = int(listed.is_target.sum())
    if not 0 < num_target < len(listed):
        raise InputError(
            f"has {num_target} target and {len(listed) - num_target} non-target trials; both are needed",
            path=trials,
        )
    speakers = None if utt2spk is None else speakers_of_trials(listed, utt2spk)
    scored = score_trial_list(
        listed, embeddings, back_end=back_end, mean=mean, plda=plda, cohort=cohort, top=top
    )
    figures = verification_figures(
        scored.scores,
        listed.is_target,
        speakers=None if speakers is None else (speakers[listed.first], speakers[listed.second]),
        resamples=resamples,
        confidence=_CONFIDENCE,
        seed=seed,
    )
    seconds_N2 = None if utt2dur is None else _seconds(listed, utt2dur)
    fitted = fit_calibration(scored.scores, listed.is_target, seconds_N2) if calibrate else None
    known = None if back_end is None else read_back_end(back_end).calibration
    return Verification(
        calibration=fitted,
        calibrated_cllr=None if known is None else cllr(known(scored.scores, seconds_N2), listed.is_target),
        figures=figures,
        trials=listed,
        scores=scored.scores,
        steps=scored.steps,
        is_normalised=scored.is_normalised,
        interval=_method(speakers, resamples, seed),
    )


def _seconds(trials: Trials, path: Path) -> np.ndarray:
    """Lengths of both utterances of each trial, (N, 2).

    Raises:
        InputError: an utterance has none, or it is no length.
    """
    table = read_table(path)
    found = np.zeros(len(trials.ids))
    for place, name in enumerate(trials.ids):
        try:
            found[place] = float(table[name])
        except (KeyError, ValueError):
            raise InputError(
                f"has no length of utterance {name!r}", path=path, hint="expected lines 'utterance seconds'"
            ) from None
        if not 0 < found[place] < np.inf:
            raise InputError(f"utterance {name!r} lasts {table[name]} s", path=path)
    return np.stack([found[trials.first], found[trials.second]], axis=1)


def _method(speakers: np.ndarray | None, resamples: int, seed: int) -> str:
    """How the interval of the EER was computed."""
    middle = f"the middle {100 * _CONFIDENCE:g} % of {resamples} bootstrap resamples (seed {seed}) of"
    if speakers is None:
        return (
            f"{middle} the trials, which assumes that they are independent: if utterances or speakers recur, "
            "the EER is less certain than this (--utt2spk resamples speakers)"
        )
    return f"{middle} the {len(set(speakers.tolist()))} speakers"
