"""The worst errors of a trial list: who was taken for whom, and what the network heard.

Shapes: M utterances, N trials, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sdpn.errors import InputError
from sdpn.explain.hearing import hear
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.page import PageSection, PageTable
from sdpn.explain.pair import PairExplained, explain_pair, pair_sections
from sdpn.extraction.embed_corpus import embed_corpus
from sdpn.io.kaldi import Utterance
from sdpn.io.trials import Trials
from sdpn.metrics.verification import equal_error_rate, error_rates

#: Nearest utterances of either side of an error that are listed.
_NEIGHBOURS = 5


@dataclass(frozen=True, eq=False)
class TrialError:
    """A trial on the wrong side of the threshold.

    Attributes:
        kind: ``false accept`` or ``false reject``.
        score: its cosine.
        pair: its two utterances, explained.
        speakers: of the two; empty where unknown.
        neighbours: of either utterance, the nearest others: (id, cosine, speaker).
    """

    kind: Literal["false accept", "false reject"]
    score: float
    pair: PairExplained
    speakers: tuple[str, str]
    neighbours: tuple[list[tuple[str, float, str]], list[tuple[str, float, str]]]

    def to_dict(self) -> dict[str, object]:
        """As plain values, for JSON."""
        sides = [self.pair.first.hearing, self.pair.second.hearing]
        return {
            "kind": self.kind,
            "score": self.score,
            "utterances": [one.name for one in sides],
            "speakers": list(self.speakers),
            "duration_s": [one.duration_s for one in sides],
            "snr_db": [None if np.isnan(one.snr_db) else one.snr_db for one in sides],
            "neighbours": [[list(item) for item in side] for side in self.neighbours],
            "explained": self.pair.to_dict(),
        }


@dataclass(frozen=True, eq=False)
class TrialsExplained:
    """A trial list and its worst errors.

    Attributes:
        eer: equal error rate, in [0, 1].
        threshold: cosine at it.
        num_errors: false accepts and false rejects at the threshold.
        errors: the worst of either kind, the worst first.
    """

    eer: float
    threshold: float
    num_errors: tuple[int, int]
    errors: list[TrialError]

    def to_dict(self) -> dict[str, object]:
        """As plain values, for JSON."""
        return {
            "eer": self.eer,
            "threshold": self.threshold,
            "false_accepts": self.num_errors[0],
            "false_rejects": self.num_errors[1],
            "errors": [one.to_dict() for one in self.errors],
        }


def explain_trials(
    network: ExplainedNetwork,
    trials: Trials,
    utterances: Sequence[Utterance],
    *,
    worst: int = 3,
    methods: Sequence[str] | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> TrialsExplained:
    """Score trials and explain the worst errors of either kind.

    Args:
        network: the network.
        trials: the trials.
        utterances: those in the trials, and maybe others, which can be neighbours.
        worst: errors of each kind.
        methods: as `sdpn.explain.utterance.explain_utterance`.
        seed: random seed of the masks.
        on_progress: called with (done, total) utterances.

    Raises:
        InputError: an utterance is missing or cannot be read, or there are no target or no non-target trials.
    """
    by_id = {utterance.id: index for index, utterance in enumerate(utterances)}
    for name in trials.ids:
        if name not in by_id:
            raise InputError(f"contains {name!r}, which is not in the data", path=trials.path)
    if trials.is_target.all() or not trials.is_target.any():
        raise InputError("needs target and non-target trials", path=trials.path)
    rows = [
        each.embeddings_ND[0] for each in embed_corpus(network.embedder, utterances, on_progress=on_progress)
    ]
    unit_MD = np.stack(rows)
    unit_MD = unit_MD / np.maximum(1e-12, np.linalg.norm(unit_MD, axis=1, keepdims=True))
    place = np.array([by_id[name] for name in trials.ids])
    first, second = place[trials.first], place[trials.second]
    scores = np.einsum("nd,nd->n", unit_MD[first], unit_MD[second])
    eer, threshold = equal_error_rate(error_rates(scores, trials.is_target))
    accepted = scores >= threshold
    wrong = {
        "false accept": np.flatnonzero(accepted & ~trials.is_target),
        "false reject": np.flatnonzero(~accepted & trials.is_target),
    }
    errors = []
    for kind, at in wrong.items():
        order = at[np.argsort(-scores[at] if kind == "false accept" else scores[at], kind="stable")]
        for trial in order[:worst].tolist():
            sides = (int(first[trial]), int(second[trial]))
            hearings = [hear(network, utterances[side]) for side in sides]
            errors.append(
                TrialError(
                    kind,  # type: ignore[arg-type]
                    float(scores[trial]),
                    explain_pair(network, hearings[0], hearings[1], methods=methods, seed=seed),
                    (utterances[sides[0]].speaker or "", utterances[sides[1]].speaker or ""),
                    (_neighbours(unit_MD, utterances, sides[0]), _neighbours(unit_MD, utterances, sides[1])),
                )
            )
    return TrialsExplained(eer, threshold, (len(wrong["false accept"]), len(wrong["false reject"])), errors)


def _neighbours(
    unit_MD: np.ndarray, utterances: Sequence[Utterance], at: int
) -> list[tuple[str, float, str]]:
    cosine_M = unit_MD @ unit_MD[at]
    cosine_M[at] = -np.inf
    return [
        (utterances[other].id, float(cosine_M[other]), utterances[other].speaker or "")
        for other in np.argsort(-cosine_M, kind="stable")[: min(_NEIGHBOURS, len(cosine_M) - 1)].tolist()
    ]


def error_sections(found: TrialError, threshold: float) -> list[PageSection]:
    """The parts of the page of one error."""
    sides = (found.pair.first.hearing, found.pair.second.hearing)
    facts = [
        [side.name, speaker or "unknown", f"{side.duration_s:.2f} s", _decibel(side.snr_db)]
        for side, speaker in zip(sides, found.speakers, strict=True)
    ]
    tables = [PageTable("The two utterances", ["utterance", "speaker", "duration", "SNR"], facts)]
    for side, neighbours in zip(sides, found.neighbours, strict=True):
        rows = [[name, f"{cosine:.3f}", speaker or "unknown"] for name, cosine, speaker in neighbours]
        tables.append(PageTable(f"Nearest to {side.name}", ["utterance", "cosine", "speaker"], rows))
    note = f"Cosine {found.score:.3f}, threshold {threshold:.3f}."
    return [PageSection(found.kind.capitalize(), [note], tables), *pair_sections(found.pair)]


def _decibel(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.0f} dB"
