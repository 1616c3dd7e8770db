"""What DER to expect of a recording, with a range, and whether it is unlike everything that was measured.

The logarithm of the DER is linear in `FEATURES` of the recording: how sure its turns are, how far its
voices are apart, how loud speech is above the pauses, how quickly turns change. The coefficients, and the
range, which holds nine tenths of the recordings of conditions that had no part in the fit, come from
simulated conversations of training speakers (docs/confidence.md, tools/benchmarks/confidence.py). They are
no promise for what was never
simulated: a recording whose features are farther from all of these than nearly any of them is from the others
gets a warning.

Shapes: S turns, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sdpn.diarization import confidence
from sdpn.diarization.confidence import speech_and_pauses
from sdpn.diarization.embedded import EmbeddedRecording
from sdpn.diarization.timeline import LabelledSpan

#: What `recording_features` measures:
#:  unsure      log of the expected share of wrong turns, by time
#:  unsettled   entropy of the number of speakers, in nats
#:  within      similarity within a speaker
#:  contrast    that less the similarity between two
#:  usual       mean margin of turns (`sdpn.diarization.confidence.FEATURES`)
#:  floor       10 dB of speech above the pauses
#:  spread      10 dB between the loudest and faintest tenth of speech
#:  speech      share of the recording
#:  stretch     log mean length of a stretch of speech
#:  changes     log changes of speaker in a minute of speech
#:  speakers    log number of speakers
#:  minutes     log minutes of speech
FEATURES = (
    "constant",
    "unsure",
    "unsettled",
    "within",
    "contrast",
    "usual",
    "floor",
    "spread",
    "speech",
    "stretch",
    "changes",
    "speakers",
    "minutes",
)

#: Added to the DER before the logarithm.
OFFSET = 0.03

#: Coefficients; mean and scale of the features; the residuals of the logarithm that the range reaches to.
WEIGHTS = np.array(
    [
        -1.654,
        0.4826,
        -0.01006,
        -0.009905,
        0.02726,
        0.08801,
        -0.0841,
        -0.008787,
        -0.06018,
        -0.03681,
        0.1459,
        -0.1922,
        0.0981,
    ]
)
MEAN = np.array([0, -2.694, 1.234, 0.4558, 0.3113, 0.7436, 2.497, 2.668, 0.8912, 2.925, 1.583, 1.194, 0.5286])
SCALE = np.array(
    [1, 0.8022, 0.5195, 0.1366, 0.1096, 0.2645, 1.105, 0.9452, 0.1477, 0.8834, 0.7348, 0.5778, 0.4779]
)
RANGE = (-0.960, 0.708)

#: Features, in standard deviations from their mean, that are farther than this in the root mean square are
#: of a recording unlike the simulated ones: the value that 1 % of those exceed.
UNUSUAL = 1.978

#: Levels where they are not known, in 10 dB.
_FLOOR, _SPREAD = 2.5, 1.5


@dataclass(frozen=True, kw_only=True)
class DerForecast:
    """The DER to expect, at collar 0 with overlap scored, as fractions.

    Attributes:
        der: the median.
        low: nine of ten recordings are above (one of twenty below) this.
        high: and below this.
        unusual: how unlike the simulated recordings this one is: the distance over that which 1 % exceed.
        features: of the recording that are farthest from usual, where it is unlike; for the warning.
    """

    der: float
    low: float
    high: float
    unusual: float
    features: Sequence[str] = ()

    @property
    def warning(self) -> str | None:
        """A sentence where the recording is unlike those that the forecast was learned from."""
        if self.unusual <= 1.0:
            return None
        return (
            "is unlike the recordings that confidence and forecast were learned from (by "
            f"{', '.join(self.features)}): a DER of {100 * self.low:.0f} to {100 * self.high:.0f} % is "
            "expected with less certainty than stated"
        )


def forecast_der(
    embedded: EmbeddedRecording,
    spans: Sequence[LabelledSpan],
    features_SF: np.ndarray,
    sure_S: Sequence[float],
    counts: Mapping[int, float] | None,
) -> DerForecast:
    """Forecast the DER of a recording with speech; arguments are those of `recording_features`."""
    features_F = recording_features(embedded, spans, features_SF, sure_S, counts)
    scaled_F = (features_F - MEAN) / SCALE
    apart_F = np.abs(scaled_F[1:])
    log_der = float(scaled_F @ WEIGHTS)
    low, der, high = (
        float(np.clip(np.exp(log_der + shift) - OFFSET, 0.0, 2.0)) for shift in (RANGE[0], 0.0, RANGE[1])
    )
    unusual = float(np.sqrt((apart_F**2).mean())) / UNUSUAL
    farthest = [FEATURES[1 + k] for k in np.argsort(-apart_F)[:2]] if unusual > 1.0 else []
    return DerForecast(der=der, low=low, high=high, unusual=unusual, features=farthest)


def recording_features(
    embedded: EmbeddedRecording,
    spans: Sequence[LabelledSpan],
    features_SF: np.ndarray,
    sure_S: Sequence[float],
    counts: Mapping[int, float] | None,
) -> np.ndarray:
    """What the forecast is made of, (F,).

    Args:
        embedded: the recording, with speech.
        spans: turns with one speaker at a time, in order of time.
        features_SF: of them (`sdpn.diarization.confidence.turn_features`).
        sure_S: their confidence.
        counts: probabilities of numbers of speakers, if the clusterer gives them.
    """
    seconds_S = np.array([span.end_s - span.start_s for span in spans])
    labels = np.array([span.label for span in spans])
    speech_s = sum(segment.duration_s for segment in embedded.speech)
    of_turn = {
        name: features_SF[0, confidence.FEATURES.index(name)] for name in ("within", "contrast", "usual")
    }
    wrong = float(np.average(1.0 - np.array(sure_S), weights=np.maximum(seconds_S, 1e-3)))
    chances = np.array([1.0]) if counts is None else np.array(list(counts.values()))
    floor, spread = _levels(embedded)
    return np.array(
        [
            1.0,
            np.log(wrong + 0.01),
            -float((chances * np.log(np.maximum(chances, 1e-9))).sum()),
            of_turn["within"],
            of_turn["contrast"],
            of_turn["usual"],
            floor,
            spread,
            speech_s / max(embedded.duration_s, speech_s, 1e-3),
            np.log(speech_s / len(embedded.speech) + 0.1),
            np.log(60.0 * (labels[1:] != labels[:-1]).sum() / max(speech_s, 1.0) + 1.0),
            np.log(len(np.unique(labels))),
            np.log(max(speech_s, 1.0) / 60.0),
        ]
    )


def _levels(embedded: EmbeddedRecording) -> tuple[float, float]:
    """Level of speech above the pauses, and between its loud and faint parts, in 10 dB."""
    if embedded.level_db_T is None or not len(embedded.level_db_T):
        return _FLOOR, _SPREAD
    speech_db, pauses_db = speech_and_pauses(embedded)
    above_T = embedded.level_db_T[embedded.level_db_T > pauses_db]
    if not len(above_T):
        return 0.0, 0.0
    loud, faint = np.quantile(above_T, [0.9, 0.1])
    return float(np.clip((speech_db - pauses_db) / 10, -1.0, 6.0)), float((loud - faint) / 10)
