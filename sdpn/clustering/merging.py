"""Merging by evidence: from many clusters down to one, with a posterior over the number of speakers.

Shapes: N windows, D embedding dimensions, K speakers, F features of a pair of clusters.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sdpn.clustering.agglomerative import Agglomerative
from sdpn.clustering.base import Clusterer, Clustering
from sdpn.clustering.count_calibration import CountEvidence, calibrated_counts
from sdpn.clustering.hmm import forward_backward
from sdpn.clustering.one_voice import OneVoice, Shares, two_voices
from sdpn.clustering.recording_model import RecordingModel, fit_recording
from sdpn.clustering.speaker_pairs import Clusters, PairFeatures, windows_in_usual_ones
from sdpn.clustering.unheard import among, with_required
from sdpn.clustering.variational import variational_bayes
from sdpn.verification.similarity import cosine

logger = logging.getLogger(__name__)

#: Windows are assigned anew whenever the number of speakers has fallen by this share.
_FALLEN = 0.1

#: VBx at the end: probability of staying with a speaker, smoothing of the labels it starts from, iterations.
_FINAL_LOOP, _SMOOTHING, _FINAL_ITERATIONS = 0.99, 5.0, 40

#: Its F_B, which drops more speakers the larger it is: in recordings of fewer windows than `_SHORT`, and in
#: others. On half minutes with overlapped speech in a room, 5 had an error of 12 % and 1 one of 15 %; on
#: three minutes 5 loses another half speaker (docs/clustering.md).
_SHORT, _PRIOR_SCALE_SHORT, _PRIOR_SCALE = 80, 5.0, 1.0

#: Prior log odds that one more of the speakers who are required can be heard. On conversations of training
#: speakers and pieces of them, 0 to 2 give the same error within 0.3 % (docs/clustering.md).
_REQUIRED_ODDS = 0.5

#: Log odds that two clusters are two speakers, linear in `sdpn.clustering.speaker_pairs.FEATURES`.
#: Fitted by maximum likelihood to two embeddings together (docs/clustering.md, tools/benchmarks/counting.py).
PAIR_ODDS = np.array(
    [-0.266, 0.638, 1.086, -0.478, -0.593, 0.056, -0.383, -1.313, 1.015, 0.466, 0.508, 0.701, -0.306]
)

#: Log odds of K against K-1 speakers, linear in the same features of the two who are merged; the last is
#: added to the step from one speaker to two.
STEP_ODDS = np.array(
    [-0.431, 0.532, -0.428, -0.565, -0.5, -0.099, -0.056, 1.094, 1.006, 0.129, 0.717, 0.1, -0.003, -1.284]
)


@dataclass(frozen=True, eq=False)
class Level:
    """A number of speakers on the way from many to one.

    Attributes:
        labels_N: speaker of each window, 0..K-1.
        features_F: of the two speakers who are merged next (`sdpn.clustering.speaker_pairs.FEATURES`); None
            at one speaker.
        shares: how similar these are, by what is known of the embedding (`sdpn.clustering.one_voice`); None
            where nothing is.
    """

    labels_N: np.ndarray
    features_F: np.ndarray | None
    shares: Shares | None = None


@dataclass(frozen=True, kw_only=True)
class Merging(Clusterer):
    """Agglomerative clustering by the evidence for speakers, with a posterior over their number.

    1. The similarity within a speaker is that of windows that touch (`sdpn.clustering.recording_model`).
    2. AHC starts with more clusters than there are speakers.
    3. The two clusters are merged that are least probably two speakers (`PAIR_ODDS`): by the log-likelihood
       ratio of two speakers and one under Gaussian speakers and windows, by their distance, by how much was
       said, and by whether the smaller lies between two others. After merges, windows are assigned anew. So
       there is a clustering for every number of speakers down to one.
    4. Each step from K-1 to K speakers has log odds (`STEP_ODDS`, and where the cosines of the embedding are
       known, `sdpn.clustering.one_voice`); their sums are the log posterior of the number. Its median among
       the admissible numbers is taken, since the most probable number is more often too low than too high,
       or that number itself (``count``). A given number is a level like any other.
    5. VBx (`sdpn.clustering.variational`) starts from that level. A speaker to whom it leaves no window is
       dropped, unless fewer than required would be left: then he gets one window, as does whoever is
       required against the odds (`sdpn.clustering.unheard`). Without times, windows are independent.
    6. The posterior that is reported is calibrated (`sdpn.clustering.count_calibration`): it also knows how
       many speakers were left.

    Attributes:
        independence: information of a window relative to an independent one; windows overlap by half, and
            what is said lasts longer than a window. It is that of windows 0.75 s apart; those that are closer
            count for less.
        start: AHC's threshold, from 0 at the similarity between speakers to 1 at that within one.
        loop_prob: probability of staying with the same speaker in the next window.
        iterations: how often windows are assigned anew after a merge.
        prior_odds: added to the log odds of each further speaker; above 0 for more speakers.
        count: the ``median`` of the posterior, or the most ``probable`` number: more often right, above all
            with one speaker, and lower where there are many (docs/clustering.md).
        same_cosine: mean cosine of two windows of one utterance with this embedding, as a model's calibration
            has it; None, as ``different_cosine`` then: the number is decided within the recording, in which
            one person alone is often divided (docs/clustering.md).
        different_cosine: mean cosine of windows of different people.
        max_start: maximum number of initial clusters.
        exact_windows: maximum number of windows for AHC without coarsening.
    """

    independence: float = 0.25
    start: float = 0.8
    loop_prob: float = 0.9
    iterations: int = 2
    prior_odds: float = 0.0
    count: Literal["median", "probable"] = "median"
    same_cosine: float | None = None
    different_cosine: float | None = None
    max_start: int = 100
    exact_windows: int = 5000

    def __post_init__(self) -> None:
        if not 0.0 < self.independence <= 1.0:
            raise ValueError(f"independence is {self.independence}; expected a share in (0, 1]")
        if not 0.0 <= self.start <= 1.0:
            raise ValueError(f"start is {self.start}; expected 0 to 1")
        if not 0.0 <= self.loop_prob < 1.0:
            raise ValueError(f"loop_prob is {self.loop_prob}; expected a probability below 1")
        if not -10.0 <= self.prior_odds <= 10.0:
            raise ValueError(f"prior_odds is {self.prior_odds}; expected -10 to 10")
        if self.count not in ("median", "probable"):
            raise ValueError(f"count is {self.count!r}; expected 'median' or 'probable'")
        if (self.same_cosine is None) != (self.different_cosine is None):
            raise ValueError("one of same_cosine and different_cosine is missing; expected both or neither")
        if (known := self.known) is not None and not -1.0 <= known.different < known.same <= 1.0:
            raise ValueError(
                f"same_cosine is {known.same} and different_cosine {known.different}; "
                "expected cosines of which same_cosine is the larger"
            )
        for name, least in (("iterations", 0), ("max_start", 1), ("exact_windows", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {least}")

    @property
    def known(self) -> OneVoice | None:
        """What is known of the embedding."""
        if self.same_cosine is None or self.different_cosine is None:
            return None
        return OneVoice(self.same_cosine, self.different_cosine)

    def _fit(self, emb_ND: np.ndarray, times_N2: np.ndarray | None, low: int, high: int) -> Clustering:
        model = fit_recording(cosine(emb_ND), times_N2)
        levels = self.levels(emb_ND, times_N2, model, low)
        posterior_K = count_posterior(levels, self.prior_odds)
        admissible_K = np.where(np.arange(1, len(posterior_K) + 1) >= low, posterior_K, 0.0)
        admissible_K[high:] = 0.0
        if not admissible_K.sum() > 0.0:  # all of it underflowed
            admissible_K[low - 1 : high] = 1.0
        admissible_K /= admissible_K.sum()
        count = chosen_count(admissible_K, self.count)
        posteriors_NK, unheard = self.settled(model, times_N2, levels, count, low)
        evidence = CountEvidence(
            posterior_K=admissible_K,
            found=posteriors_NK.shape[1],
            contrast=model.within - model.between,
            windows=windows_in_usual_ones(times_N2) * len(emb_ND),
        )
        chances_K = self.calibrated(evidence)
        logger.info(
            "merging: %d speakers, probability %.2f (cosine within a speaker %.2f, between two %.2f)",
            evidence.found,
            chances_K[evidence.found - 1],
            model.within,
            model.between,
        )
        return Clustering(posteriors_NK.argmax(axis=1), posteriors_NK, chances_K, unheard=unheard)

    def calibrated(self, evidence: CountEvidence) -> np.ndarray:
        """The posterior of the number that is reported (`sdpn.clustering.count_calibration`)."""
        return calibrated_counts(evidence)

    def settled(
        self,
        model: RecordingModel,
        times_N2: np.ndarray | None,
        levels: Mapping[int, Level],
        count: int,
        low: int,
    ) -> tuple[np.ndarray, int]:
        """VBx from a level: step 5.

        Args:
            model: of the recording.
            times_N2: of its windows, or None.
            levels: from `levels` or `levels_from`.
            count: number of speakers of the level.
            low: smallest number of speakers, at most ``count``. If it is that, VBx starts with those of them
                whom the evidence supports.

        Returns:
            posteriors of the speakers that are left, each with a window; how many of them are only left
            because they are required.
        """
        from scipy.special import softmax

        heard = count if low < count else _heard(levels, count)
        start_N, unit = levels[heard].labels_N, windows_in_usual_ones(times_N2)
        has_chain = times_N2 is not None and self.loop_prob > 0.0
        posteriors_NK = variational_bayes(
            model.x_ND,
            np.full(model.x_ND.shape[1], model.phi),
            softmax(_SMOOTHING * np.eye(heard), axis=1)[start_N],
            loop_N=np.full(len(start_N), _FINAL_LOOP if has_chain else 0.0),
            fa=self.independence * unit,
            fb=_PRIOR_SCALE_SHORT if unit * len(start_N) < _SHORT else _PRIOR_SCALE,
            max_iterations=_FINAL_ITERATIONS,
            epsilon=1e-6,
        ).of_all(heard)
        labels_N = levels[count].labels_N
        return with_required(among(posteriors_NK, labels_N), labels_N, model.x_ND, low)

    def levels(
        self, emb_ND: np.ndarray, times_N2: np.ndarray | None, model: RecordingModel, low: int = 1
    ) -> Mapping[int, Level]:
        """The clustering for every number of speakers from 1 to that of AHC, at least ``low``.

        Args:
            emb_ND: embeddings.
            times_N2: of their windows, or None.
            model: of the recording.
            low: least number of speakers that AHC starts from.
        """
        return self.levels_from(self.start_labels(emb_ND, model, low), emb_ND, times_N2, model)

    def start_labels(self, emb_ND: np.ndarray, model: RecordingModel, low: int) -> np.ndarray:
        """Labels (N,) of the AHC, at least ``low`` of them."""
        threshold = model.between + self.start * (model.within - model.between)
        ahc = Agglomerative(threshold=float(np.clip(threshold, -1.0, 1.0)), exact_windows=self.exact_windows)
        most = max(self.max_start, low)
        return ahc.fit_predict(emb_ND, min_speakers=low, max_speakers=most).labels_N

    def levels_from(
        self, labels_N: np.ndarray, emb_ND: np.ndarray, times_N2: np.ndarray | None, model: RecordingModel
    ) -> Mapping[int, Level]:
        """The clustering for every number of speakers from 1 to that of given labels 0..K-1."""
        # a chain for every level would take long
        is_long = times_N2 is None or len(emb_ND) > self.exact_windows
        loop_N = np.full(len(emb_ND), 0.0 if is_long else self.loop_prob)
        rows_ND = cosine(emb_ND).features_NF
        measure, unit = PairFeatures(rows_ND, times_N2, model), windows_in_usual_ones(times_N2)
        clusters, known = Clusters.of(labels_N, rows_ND), self.known
        levels: dict[int, Level] = {}
        refined_at = np.inf
        while (num := len(clusters.sizes_K)) > 1:
            if num <= refined_at * (1.0 - _FALLEN) or num <= 1 / _FALLEN:
                labels_N = self._refine(model, clusters.labels_N, loop_N, unit).argmax(axis=1)
                clusters, refined_at = Clusters.of(labels_N, rows_ND), num
            features_KKF = measure(clusters)
            odds_KK = features_KKF @ PAIR_ODDS
            np.fill_diagonal(odds_KK, np.inf)
            kept, gone = sorted(int(place) for place in np.unravel_index(odds_KK.argmin(), odds_KK.shape))
            shares = None if known is None else known.shares(clusters.cosine(kept, gone), model.within)
            levels[num] = Level(clusters.labels_N, features_KKF[kept, gone], shares)
            clusters = clusters.merged(kept, gone)
        levels[1] = Level(np.zeros(len(emb_ND), dtype=np.int64), None)
        return levels

    def _refine(
        self, model: RecordingModel, labels_N: np.ndarray, loop_N: np.ndarray, unit: float
    ) -> np.ndarray:
        """Posteriors (N, K) of windows assigned to the speakers anew, as long as every speaker keeps one."""
        posteriors_NK: np.ndarray = np.eye(int(labels_N.max()) + 1)[labels_N]
        for _ in range(self.iterations if posteriors_NK.shape[1] > 1 else 0):
            log_p_NK, pi_K = self._log_likelihoods(model, posteriors_NK, unit)
            again_NK = _posteriors(log_p_NK, pi_K, loop_N)
            if len(np.unique(again_NK.argmax(axis=1))) < posteriors_NK.shape[1]:
                break
            posteriors_NK = again_NK
        return posteriors_NK

    def _log_likelihoods(
        self, model: RecordingModel, posteriors_NK: np.ndarray, unit: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Expected log-likelihoods (N, K) of the windows, up to a constant of each, and priors (K,)."""
        sizes_K, share = posteriors_NK.sum(axis=0), self.independence * unit
        variance_K1 = 1.0 / (1.0 + share * sizes_K * model.phi)[:, None]
        mean_KD = share * variance_K1 * (posteriors_NK.T @ model.x_ND) * model.phi
        log_p_NK = model.x_ND @ mean_KD.T
        log_p_NK -= 0.5 * ((mean_KD**2).sum(axis=1) + mean_KD.shape[1] * model.phi * variance_K1[:, 0])
        pi_K = np.maximum(sizes_K, 0.5)
        return share * log_p_NK, pi_K / pi_K.sum()


def _posteriors(log_p_NK: np.ndarray, pi_K: np.ndarray, loop_N: np.ndarray) -> np.ndarray:
    """Posteriors (N, K) of a chain that stays with probability ``loop_N``; of independent windows at 0."""
    from scipy.special import softmax

    if not loop_N.any():
        independent_NK: np.ndarray = softmax(log_p_NK + np.log(pi_K), axis=1)
        return independent_NK
    posteriors_NK, _, _ = forward_backward(log_p_NK, pi_K, loop_N)
    return posteriors_NK / posteriors_NK.sum(axis=1, keepdims=True)


def step_features(num: int, level: Level) -> np.ndarray:
    """What the log odds of ``num`` against one speaker fewer are linear in, in the order of `STEP_ODDS`."""
    assert level.features_F is not None
    return np.append(level.features_F, float(num == 2))


def step_odds(num: int, level: Level) -> float:
    """Log odds of ``num`` against one speaker fewer."""
    odds = float(step_features(num, level) @ STEP_ODDS)
    return odds if level.shares is None else odds + float(two_voices(*level.shares, num == 2))


def chosen_count(posterior_K: np.ndarray, rule: str) -> int:
    """The ``median`` of probabilities of 1, 2, ... speakers, or the most ``probable`` number."""
    at = posterior_K.argmax() if rule == "probable" else (posterior_K.cumsum() < 0.5).sum()
    return 1 + int(at)


def _heard(levels: Mapping[int, Level], required: int) -> int:
    """How many of the speakers who are required the evidence supports."""
    steps = [step_odds(num, levels[num]) + _REQUIRED_ODDS for num in range(2, required + 1)]
    return 1 + int(np.cumsum([0.0, *steps]).argmax())


def count_posterior(levels: Mapping[int, Level], prior_odds: float) -> np.ndarray:
    """Posterior probabilities of 1, 2, ... speakers.

    Args:
        levels: from `Merging.levels`.
        prior_odds: added to each step.
    """
    from scipy.special import softmax

    steps = [step_odds(num, levels[num]) + prior_odds for num in range(2, max(levels) + 1)]
    posterior_K: np.ndarray = softmax(np.concatenate([[0.0], np.cumsum(steps)]))
    return posterior_K
