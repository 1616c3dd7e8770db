"""Speakers of a stream: each new window goes to a known speaker or founds a new one, and now and then all are
clustered anew.

Between two clusterings, a window is compared with the mean of each speaker's windows: its cosine is on
average that of two windows of one speaker, or of two (`sdpn.clustering.recording_model`), which become 1 and
0. Windows whose speaker need not be known yet are decided together, by the best path (Viterbi) through
speakers and "somebody new", with a price for each change. Every few windows the clusterer of files clusters
the windows in memory; its clusters get the labels of the speakers with whom they share most windows
(Hungarian method), and the windows whose label changes are reported.

Memory holds a bounded number of windows: the latest, and of each speaker some that are older, evenly spaced.

Shapes: N windows, P windows that are not decided, D embedding dimensions, K speakers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sdpn.clustering.base import Clusterer
from sdpn.clustering.recording_model import fit_recording, touching_similarities, usual_between
from sdpn.clustering.two_gaussians import evenly_spaced
from sdpn.verification.similarity import cosine

#: The similarity within a speaker before there are pairs to measure it, and how many of them that counts for.
_WITHIN, _PRIOR_PAIRS = 0.55, 6.0

#: Shortest window that is somebody new while there are others.
_SHORTEST_NEW_S = 1.0

#: The label of a window that is not decided and like no known speaker.
_NEW = -1


@dataclass(frozen=True, kw_only=True)
class OnlineConfig:
    """Settings of the speakers of a stream.

    Attributes:
        new_speaker: a window that is less like every speaker than this founds a new one; from 0, the mean of
            two speakers, to 1, that of one.
        stay: price of a change of speaker between two windows, on the same scale.
        first_s: speech before the first clustering of all windows.
        every_s: speech between two of them; at least a tenth of the speech in memory.
        recent: latest windows that are kept in memory.
        older: older windows that are kept, of all speakers together.
    """

    new_speaker: float = 0.35
    stay: float = 0.15
    first_s: float = 9.0
    every_s: float = 6.0
    recent: int = 400
    older: int = 400

    def __post_init__(self) -> None:
        if not -1.0 <= self.new_speaker <= 1.0:
            raise ValueError(f"new_speaker is {self.new_speaker}; expected -1 to 1")
        if not 0.0 <= self.stay <= 10.0:
            raise ValueError(f"stay is {self.stay}; expected 0 to 10")
        for name in ("first_s", "every_s"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; expected seconds, more than 0")
        for name, least in (("recent", 20), ("older", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {least}")


class Change(NamedTuple):
    """A span of the stream whose speaker has changed.

    Attributes:
        start_s: from here on,
        end_s: up to here,
        was: what was this speaker's
        now: is this one's.
    """

    start_s: float
    end_s: float
    was: int
    now: int


class OnlineClustering:
    """The speakers of one stream.

    Args:
        clusterer: clusters the windows in memory.
        config: settings.
        hop_s: seconds of speech that a window adds.
        min_speakers: minimum number of speakers, once there are as many windows.
        max_speakers: maximum number of speakers; None for no limit.
    """

    def __init__(
        self,
        clusterer: Clusterer,
        config: OnlineConfig,
        *,
        hop_s: float,
        min_speakers: int = 1,
        max_speakers: int | None = None,
    ) -> None:
        self._clusterer, self._config = clusterer, config
        self._min_speakers, self._max_speakers = min_speakers, max_speakers
        self._first, self._every = (max(2, round(s / hop_s)) for s in (config.first_s, config.every_s))
        self._rows_ND = np.zeros((0, 0), dtype=np.float32)  # of length 1
        self._times_N2 = np.zeros((0, 2))
        self._labels_N = np.zeros(0, dtype=np.int64)
        self._dropped = 0  # windows that are no longer in memory
        self._decided = self._clustered = self._since = 0  # of the windows in memory
        self._older = 0  # windows in memory that stand for others
        self._next = 0
        self._within, self._between = _WITHIN, usual_between(_WITHIN)
        self._sums_KD: dict[int, np.ndarray] = {}
        self._sizes_K: dict[int, int] = {}

    @property
    def num_windows(self) -> int:
        """Windows that were added."""
        return self._dropped + len(self._rows_ND)

    @property
    def num_in_memory(self) -> int:
        """Windows in memory."""
        return len(self._rows_ND)

    def add(self, embedding_D: np.ndarray, start_s: float, end_s: float) -> list[Change]:
        """Take the next window; returns spans whose speaker has changed."""
        row_D = _unit(embedding_D)
        self._rows_ND = row_D[None] if not len(self._rows_ND) else np.vstack([self._rows_ND, row_D])
        self._times_N2 = np.vstack([self._times_N2, [[start_s, end_s]]])
        self._labels_N = np.append(self._labels_N, _NEW)
        self._since += 1
        if not self._clustered:
            self._measure()
        changes = self._cluster() if self._is_due() else []
        self._assign()
        return changes

    def label(self, index: int) -> int:
        """Speaker of a window, counted from the first that was added, as far as is known.

        Where it is somebody new, this is the label that a new speaker would get, who may not come to be.
        """
        label = int(self._labels_N[index - self._dropped])
        return self._next if label == _NEW else label

    def decide(self, index: int) -> int:
        """Speaker of a window, which is final until all are clustered anew."""
        at = index - self._dropped
        while self._decided <= at:
            if self._decided >= self._clustered:
                label = int(self._labels_N[self._decided])
                if label == _NEW:
                    label, self._next = self._next, self._next + 1
                    self._labels_N[self._decided] = label
                row_D = self._rows_ND[self._decided].astype(np.float64)
                self._sums_KD[label] = self._sums_KD.get(label, 0.0) + row_D
                self._sizes_K[label] = self._sizes_K.get(label, 0) + 1
            self._decided += 1
            self._assign()
        return int(self._labels_N[at])

    def guess(self, embedding_D: np.ndarray, seconds: float) -> int:
        """Speaker of a window behind all others that is not added, such as the beginning of one.

        Where it is somebody new, this is the label that a new speaker would get, who may not come to be.

        Args:
            embedding_D: of the window.
            seconds: its length; short windows are somebody new only if there is nobody yet.
        """
        scores_1S, labels = self._scores(_unit(embedding_D)[None])
        if seconds < _SHORTEST_NEW_S and len(labels) > 1:
            scores_1S[0, -1] = -np.inf
        last = int(self._labels_N[-1]) if len(self._labels_N) else _NEW
        label = int(labels[(scores_1S[0] + np.where(labels == last, self._config.stay, 0.0)).argmax()])
        return self._next if label == _NEW else label

    def _recount(self) -> None:
        """Sums and numbers of each speaker's windows, of those that are decided or clustered."""
        self._sums_KD, self._sizes_K = {}, {}
        certain = max(self._decided, self._clustered)
        for label in np.unique(self._labels_N[:certain]).tolist():
            rows = self._rows_ND[:certain][self._labels_N[:certain] == label]
            self._sums_KD[label], self._sizes_K[label] = rows.sum(axis=0, dtype=np.float64), len(rows)

    def _measure(self) -> None:
        """The similarities within a speaker and between two, from the few windows of the beginning."""
        touching_P = touching_similarities(self._rows_ND, self._times_N2)
        share = len(touching_P) / (len(touching_P) + _PRIOR_PAIRS)
        median = float(np.median(touching_P)) if len(touching_P) else _WITHIN
        self._within = share * median + (1.0 - share) * _WITHIN
        self._between = usual_between(self._within)

    def _scores(self, rows_PD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How much windows are like speakers, 1 on average for their own and 0 for others, and like somebody
        new.

        Returns:
            scores (P, K + 1) and whose they are (K + 1,), `_NEW` at the end.
        """
        labels = np.array([*self._sizes_K, _NEW])
        full = self._max_speakers is not None and len(self._sizes_K) >= self._max_speakers
        scores_PS = np.full((len(rows_PD), len(labels)), -np.inf if full else self._config.new_speaker)
        if self._sizes_K:
            mean_KD = np.stack([self._sums_KD[label] / size for label, size in self._sizes_K.items()])
            cosines_PK = rows_PD @ mean_KD.T
            scores_PS[:, :-1] = (cosines_PK - self._between) / (self._within - self._between)
        return scores_PS, labels

    def _assign(self) -> None:
        """Decide together on the windows that are neither decided nor clustered."""
        first = max(self._decided, self._clustered)
        if first == len(self._rows_ND):
            return
        scores_PS, labels = self._scores(self._rows_ND[first:])
        before = int(self._labels_N[first - 1]) if first else _NEW
        start_S = np.where(labels == before, 0.0, -self._config.stay)
        self._labels_N[first:] = labels[_best_path(scores_PS, start_S, self._config.stay)]

    def _is_due(self) -> bool:
        if not self._clustered:
            return len(self._rows_ND) >= self._first
        return self._since >= max(self._every, len(self._rows_ND) // 10)

    def _cluster(self) -> list[Change]:
        """Cluster the windows in memory anew."""
        if len(self._rows_ND) > self._config.recent + self._config.older + self._every:
            self._thin()
        before_N = self._labels_N.copy()
        model = fit_recording(cosine(self._rows_ND), self._times_N2)
        self._within, self._between = model.within, model.between
        most = None if self._max_speakers is None else min(self._max_speakers, len(self._rows_ND))
        clusters_N = self._clusterer.fit_predict(
            self._rows_ND,
            times_N2=self._times_N2,
            min_speakers=min(self._min_speakers, len(self._rows_ND)),
            max_speakers=most,
        ).labels_N
        self._labels_N = self._matched(clusters_N)
        self._clustered, self._since = len(self._rows_ND), 0
        self._agree_on_older(before_N)
        self._recount()
        return self._changes(before_N)

    def _matched(self, clusters_N: np.ndarray) -> np.ndarray:
        """Labels of clusters: those of the speakers with whom they share most windows, others are new."""
        from scipy.optimize import linear_sum_assignment

        decided_N = self._labels_N[: self._decided]
        known, places_N = np.unique(decided_N, return_inverse=True)
        shared_CK = np.zeros((int(clusters_N.max()) + 1, len(known)))
        np.add.at(shared_CK, (clusters_N[: self._decided], places_N), 1.0)
        name_C = np.full(len(shared_CK), _NEW)
        for cluster, place in zip(*linear_sum_assignment(shared_CK, maximize=True), strict=True):
            if shared_CK[cluster, place] > 0:
                name_C[cluster] = known[place]
        for cluster in dict.fromkeys(clusters_N.tolist()):
            if name_C[cluster] == _NEW:
                name_C[cluster], self._next = self._next, self._next + 1
        labels_N: np.ndarray = name_C[clusters_N]
        return labels_N

    def _agree_on_older(self, before_N: np.ndarray) -> None:
        """Windows that stand for others change their label with all others of their speaker, or not."""
        for was in np.unique(before_N[: self._older]).tolist():
            of_N = np.flatnonzero(before_N[: self._older] == was)
            labels, counts = np.unique(self._labels_N[of_N], return_counts=True)
            self._labels_N[of_N] = labels[counts.argmax()]

    def _changes(self, before_N: np.ndarray) -> list[Change]:
        """Spans of decided windows with another label, neighbours together."""
        changes: list[Change] = []
        now_N = self._labels_N
        for was in np.unique(before_N[: self._older]).tolist():
            now = int(now_N[: self._older][before_N[: self._older] == was][0])
            if now != was:
                changes.append(Change(0.0, float(self._times_N2[self._older - 1, 1]), was, now))
        for at in range(self._older, self._decided):
            was, now = int(before_N[at]), int(now_N[at])
            if was == now:
                continue
            start_s, end_s = self._core(at)
            if changes and changes[-1][2:] == (was, now) and changes[-1].end_s >= start_s - 1e-6:
                start_s = changes.pop().start_s
            changes.append(Change(start_s, end_s, was, now))
        return changes

    def _core(self, at: int) -> tuple[float, float]:
        """The part of the stream whose label is a window's: up to halfway to its neighbours'."""
        (start_s, end_s), times_N2 = self._times_N2[at], self._times_N2
        if at and times_N2[at - 1, 1] > start_s:
            start_s = (times_N2[at - 1, 1] + start_s) / 2
        if at + 1 < len(times_N2) and times_N2[at + 1, 0] < end_s:
            end_s = (times_N2[at + 1, 0] + end_s) / 2
        return float(start_s), float(end_s)

    def _thin(self) -> None:
        """Forget windows: all but the latest, and some older ones of each speaker."""
        first = min(len(self._rows_ND) - self._config.recent, self._decided)
        older_N = self._labels_N[:first]
        speakers = np.unique(older_N)
        share = self._config.older // max(1, len(speakers))
        kept = [
            places[evenly_spaced(len(places), share)]
            for speaker in speakers.tolist()
            if len(places := np.flatnonzero(older_N == speaker)) and share
        ]
        kept_older = np.sort(np.concatenate(kept)) if kept else np.zeros(0, dtype=np.int64)
        chosen = np.concatenate([kept_older, np.arange(first, len(self._rows_ND))])
        gone = len(self._rows_ND) - len(chosen)
        self._rows_ND, self._times_N2 = self._rows_ND[chosen], self._times_N2[chosen]
        self._labels_N = self._labels_N[chosen]
        self._older = len(kept_older)
        self._dropped += gone
        self._decided -= gone
        self._clustered = max(0, self._clustered - gone)


def _unit(embedding_D: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(embedding_D))
    unit_D: np.ndarray = (embedding_D / max(length, 1e-12)).astype(np.float32)
    return unit_D


def _best_path(scores_PS: np.ndarray, start_S: np.ndarray, price: float) -> np.ndarray:
    """States (P,) with the largest sum of scores less the price of each change."""
    total_S, came_PS = start_S + scores_PS[0], np.zeros(scores_PS.shape, dtype=np.int64)
    states_S = np.arange(scores_PS.shape[1])
    for step in range(1, len(scores_PS)):
        best = int(total_S.argmax())
        moves_S = total_S < total_S[best] - price
        came_PS[step] = np.where(moves_S, best, states_S)
        total_S = np.where(moves_S, total_S[best] - price, total_S) + scores_PS[step]
    path = [int(total_S.argmax())]
    for step in range(len(scores_PS) - 1, 0, -1):
        path.append(int(came_PS[step, path[-1]]))
    return np.array(path[::-1])
