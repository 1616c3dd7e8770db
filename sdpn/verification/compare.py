"""Comparison of the speakers of two recordings: score and decision."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ, Audio, Channel, read
from sdpn.verification.back_end import BackEnd
from sdpn.verification.similarity import similarity

#: Default false-alarm rate.
FALSE_ALARMS = 0.05

#: Calibrated cosine thresholds, the preferred one first.
THRESHOLDS = ("verification_threshold", "ahc_threshold")


class Compares(Protocol):
    """The model interface that `compare` needs."""

    @property
    def calibration(self) -> Mapping[str, float]:
        """Figures measured on the model."""

    def embed(self, audio: Sequence[Audio], *, channel: Channel = None) -> np.ndarray:
        """Recordings to embeddings (N, D)."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Result of comparing two recordings.

    Attributes:
        score: score of the back end, or the cosine.
        cosine: of the two embeddings.
        strangers_reaching: share of different-speaker pairs of the back end's training speech with at least
            this score; None without a back end.
        threshold: minimum score for the same speaker; None if the model has none.
        log_ratio: natural logarithm of the likelihood ratio of one speaker and two, for a calibrated back
            end.
        source: where the threshold comes from: "given", "false alarms" or a key of the calibration.
    """

    score: float
    cosine: float
    strangers_reaching: float | None
    threshold: float | None
    source: str | None
    log_ratio: float | None = None

    @property
    def same_speaker(self) -> bool | None:
        """The decision; None without a threshold."""
        return None if self.threshold is None else self.score >= self.threshold


def compare(
    model: Compares,
    first: Audio,
    second: Audio,
    *,
    back_end: BackEnd | None = None,
    threshold: float | None = None,
    false_alarms: float | None = None,
    channel: Channel = None,
) -> Comparison:
    """Compare the speakers of two recordings.

    Args:
        model: from `sdpn.load_model`.
        first: a recording of any kind.
        second: another.
        back_end: back end of that model (`sdpn.verification.storage.read_back_end`); None for the cosine.
        threshold: minimum score for the same speaker; None takes that of the back end, or of the model's
            calibration.
        false_alarms: share of different-speaker pairs to accept, with a back end; None: 5 %.
        channel: of both recordings.

    Raises:
        InputError: a recording cannot be read or is digital silence, or an argument is out of range or
            without effect.
    """
    check_decision(back_end, threshold=threshold, false_alarms=false_alarms)
    waves = [_heard(audio, channel) for audio in (first, second)]
    embeddings_2D = model.embed([(wave_S, RATE_HZ) for wave_S in waves])
    cosine = float(similarity(*embeddings_2D))
    if back_end is None:
        key = next((key for key in THRESHOLDS if key in model.calibration), None)
        calibrated = None if key is None else float(model.calibration[key])
        score, strangers, log_ratio = cosine, None, None
    else:
        key = "false alarms"
        calibrated = back_end.threshold(FALSE_ALARMS if false_alarms is None else false_alarms)
        score = float(back_end.score(embeddings_2D, np.array([0]), np.array([1]))[0])
        strangers, log_ratio = back_end.strangers_reaching(score), None
        if back_end.calibration is not None:
            seconds_12 = np.array([[len(wave_S) / RATE_HZ for wave_S in waves]])
            log_ratio = float(back_end.calibration(np.array([score]), seconds_12)[0])
    return Comparison(
        score=score,
        cosine=cosine,
        strangers_reaching=strangers,
        threshold=calibrated if threshold is None else threshold,
        source=key if threshold is None else "given",
        log_ratio=log_ratio,
    )


def _heard(audio: Audio, channel: Channel) -> np.ndarray:
    """The samples of a recording in which there is something."""
    wave_S = read(audio, channel=channel)
    if not np.ptp(wave_S):
        raise InputError(
            "is silent: there is nobody to compare",
            path=audio if isinstance(audio, (str, os.PathLike)) else None,
            hint="give recordings with speech; of several channels, choose one with --channel",
        )
    return wave_S


def check_decision(back_end: BackEnd | None, *, threshold: float | None, false_alarms: float | None) -> None:
    """Check the arguments of `compare` for a decision.

    Raises:
        InputError: an argument is out of range, has no effect, or contradicts the other.
    """
    if false_alarms is not None and not 0 < false_alarms < 1:
        raise InputError(
            f"--false-alarms {false_alarms} is not a rate",
            hint="expected more than 0 and less than 1, such as 0.01",
        )
    if false_alarms is not None and threshold is not None:
        raise InputError("--threshold and --false-alarms exclude each other", hint="give one of them")
    if back_end is None and false_alarms is not None:
        raise InputError(
            "--false-alarms needs a back end",
            hint="train one with 'sdpn backend', or set --threshold for cosines",
        )
    if back_end is None and threshold is not None and not -1 <= threshold <= 1:
        raise InputError(f"--threshold {threshold} is not a cosine", hint="expected -1 to 1")
