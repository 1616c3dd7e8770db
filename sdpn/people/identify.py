"""Open-set identification: which known person a voice is, or nobody's, at a stated rate of false alarms.

A voice gets the name of the most similar person if the score reaches a threshold. The false-alarm rate is
that of strangers who get any name, so it is the distribution of a stranger's *highest* score over all people
that decides, and that is estimated three times, without labels:

- from the back end's cohort: one half, as strangers, against the people, normalised by the other half;
- from the back end's strangers of one corpus (`sdpn.verification.strangers`): the score that no more than the
  rate reach with any of as many people, by the union bound;
- from the people themselves: each enrolled recording against all others but its own person. They sound as
  recordings here do, and the back end's training speech may not. Few voices resemble each other much more
  than most (children, siblings), so the upper half of these highest scores has an exponential tail rather
  than a normal one, and it is a sample of as many as there are people: the upper limit of an interval is
  taken.

The highest of these thresholds is taken: the rate is a limit.

Shapes: P people, R enrolled recordings, M voices, C cohort utterances, D embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from sdpn.errors import InputError
from sdpn.people.voiceprint import Voiceprint
from sdpn.verification.back_end import BackEnd
from sdpn.verification.similarity import Similarity
from sdpn.verification.trial_scores import as_norm, cohort_statistics, score_trials

#: Share of strangers who get a name.
FALSE_ALARMS = 0.01
#: Fewest recordings of different people for an estimate from the people themselves.
_FEWEST = 4
#: Standard errors by which the scale of the people's own tail is raised (docs/people.md).
_RAISED = 0.64
#: Where the normal tail of the back end's strangers begins.
_TAIL = 0.9


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Whose voice it is.

    Attributes:
        name: of the person; None if it is nobody's.
        nearest: the most similar person.
        score: how similar, in standard deviations above the scores of different people.
        threshold: the score from which on it is that person.
    """

    name: str | None
    nearest: str
    score: float
    threshold: float


class KnownPeople:
    """Finds known people among voices.

    >>> known = KnownPeople(PeopleFolder(Path("people")).read(), own_back_end(SHIPPED))
    >>> known.identify({"speaker00": embedding_D})
    {"speaker00": Identity(name="Anna", ...)}

    Args:
        people: at least one.
        back_end: of the model that computed the embeddings.
        false_alarms: share of strangers who may get a name, in (0, 1).

    Raises:
        InputError: embeddings of another dimension than the back end's, or a rate that is none.
    """

    def __init__(
        self, people: Sequence[Voiceprint], back_end: BackEnd, *, false_alarms: float = FALSE_ALARMS
    ) -> None:
        if not 0 < false_alarms < 1:
            raise InputError(
                f"--false-alarms {false_alarms} is not a rate",
                hint="expected more than 0 and less than 1, such as 0.01",
            )
        self.people = sorted(people, key=lambda person: person.name)
        self.back_end = back_end
        self.false_alarms = false_alarms
        dimensions = {len(person.embedding_D) for person in self.people}
        if dimensions != {back_end.embedding_dim}:
            raise InputError(
                f"the back end expects embeddings of {back_end.embedding_dim} dimensions, the voiceprints "
                f"have {', '.join(map(str, sorted(dimensions)))}",
                hint="a back end only fits the model that it was trained with",
            )
        self._embeddings_PD = np.stack([person.embedding_D for person in self.people])
        of_people = self._threshold_of_people()
        self.by_back_end_alone = of_people is None
        found = [self._threshold_of_cohort(), self._threshold_of_strangers(), of_people]
        self.threshold = max(one for one in found if one is not None)

    @property
    def digest(self) -> str:
        """Digest of everything that names depend on."""
        digest = hashlib.sha256(repr([self.false_alarms, self.threshold]).encode())
        for person in self.people:
            digest.update(person.name.encode())
            digest.update(person.embedding_D.tobytes())
        for array in (self.back_end.mean_D, self.back_end.plda.transform_ED, self.back_end.cohort_CD):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def identify(self, voices: Mapping[str, np.ndarray]) -> dict[str, Identity]:
        """Find whose voices these are; two voices may be one person's.

        Args:
            voices: embeddings (D,) by label.
        """
        if not voices:
            return {}
        scores_MP = self._scores(np.stack(list(voices.values())))
        found = {}
        for label, scores_P in zip(voices, scores_MP, strict=True):
            best = int(scores_P.argmax())
            score, name = float(scores_P[best]), self.people[best].name
            found[label] = Identity(
                name=name if score >= self.threshold else None,
                nearest=name,
                score=score,
                threshold=self.threshold,
            )
        return found

    def _scores(self, emb_MD: np.ndarray) -> np.ndarray:
        """Scores (M, P) of voices with people."""
        utterances = self.back_end.similarity(np.concatenate([self._embeddings_PD, emb_MD]))
        return _scores(utterances, len(self.people), self.back_end.cohort, self.back_end.top)

    def _threshold_of_cohort(self) -> float:
        """The score that this share of the cohort reaches with anybody.

        Half of the cohort normalises, with half as many top utterances, so that these are equally similar.
        """
        cohort_CD = self.back_end.cohort_CD.astype(np.float64)
        half = len(cohort_CD) // 2
        utterances = self.back_end.similarity(np.concatenate([self._embeddings_PD, cohort_CD[:half]]))
        others = self.back_end.similarity(cohort_CD[half:])
        scores_MP = _scores(utterances, len(self.people), others, max(2, self.back_end.top // 2))
        return float(np.quantile(scores_MP.max(axis=1), 1 - self.false_alarms))

    def _threshold_of_strangers(self) -> float:
        """The score that strangers of one corpus reach with somebody at no more than this rate.

        Each person is reached by as many strangers as the rate, divided by the number of people; the normal
        distribution is that through the median and the quantile 0.9, as in `sdpn.verification.strangers`.
        """
        median, high = np.quantile(self.back_end.strangers_Q, [0.5, _TAIL])
        normal = NormalDist()
        tail = normal.inv_cdf(1 - self.false_alarms / len(self.people)) / normal.inv_cdf(_TAIL)
        return float(median + (high - median) * max(tail, 0.0))

    def _threshold_of_people(self) -> float | None:
        """The same of the people themselves; None if they are too few."""
        recordings = [(index, one) for index, who in enumerate(self.people) for one in who.recordings]
        if len(self.people) < 2 or len(recordings) < _FEWEST:
            return None
        scores_RP = self._scores(np.stack([one.embedding_D for _, one in recordings]))
        scores_RP[np.arange(len(recordings)), [index for index, _ in recordings]] = -np.inf
        highest_R = scores_RP.max(axis=1)
        median = float(np.median(highest_R))
        above_R = highest_R[highest_R > median] - median
        if not len(above_R):  # the same recording under several names
            return median
        scale = float(above_R.mean()) * (1 + _RAISED / len(self.people) ** 0.5)
        return median + scale * max(float(np.log(0.5 / self.false_alarms)), 0.0)


def _scores(utterances: Similarity, num_people: int, cohort: Similarity, top: int) -> np.ndarray:
    """Normalised scores (M, P) of the utterances after the first P with those."""
    means, deviations = cohort_statistics(utterances, cohort, top=top)
    voices = np.arange(num_people, len(utterances))
    first = np.tile(np.arange(num_people), len(voices))
    second = np.repeat(voices, num_people)
    scores = score_trials(utterances, first, second)
    return as_norm(scores, first, second, means, deviations).reshape(len(voices), num_people)


def refuse_other_model(
    people: Sequence[Voiceprint], model: str | None, *, folder: str, model_name: str
) -> None:
    """Check that voiceprints are of a model.

    Args:
        people: the voiceprints.
        model: digest of its weights (`sdpn.models.weights.weights_digest`); None if it has none.
        folder: of the people, for the message.
        model_name: path or name of the model, for the message.

    Raises:
        InputError: the model has no digest, or somebody was enrolled with another one.
    """
    if model is None:
        raise InputError(
            "has no digest of its weights, which voiceprints need",
            path=model_name,
            hint="use the model that the graph was converted from",
        )
    others = [person for person in people if person.model != model]
    if others:
        made_with = others[0].made_with.get("model") or "another model"
        more = f" and {len(others) - 1} more" if others[1:] else ""
        raise InputError(
            f"the voiceprint of {others[0].name!r}{more} was made with {made_with}, not with {model_name}",
            path=folder,
            hint=f"renew them from their recordings: sdpn enroll --people {folder} --renew "
            f"--model {model_name}",
        )
