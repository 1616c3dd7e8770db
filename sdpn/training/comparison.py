"""A model before and after training, on the same verification trials: both error rates, and their difference.

Shapes: M utterances, N trials, D embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.errors import InputError
from sdpn.extraction.embed_corpus import embed_corpus
from sdpn.io.atomic import atomic_path, atomic_write_text
from sdpn.io.kaldi import Utterance, read_data_dir, read_table
from sdpn.io.trials import Trials, read_trials
from sdpn.metrics.bootstrap import percentile_interval
from sdpn.metrics.eer_interval import resampled_eers
from sdpn.metrics.verification import equal_error_rate, error_rates
from sdpn.models.speaker_embedder import SpeakerEmbedder
from sdpn.verification.similarity import cosine
from sdpn.verification.trial_list import number_speakers
from sdpn.verification.trial_scores import score_trials

_log = logging.getLogger(__name__)

_CONFIDENCE = 0.95
#: Utterances of a speaker that target trials are made of: all pairs of more say little more.
_MOST_OF_SPEAKER = 20


@dataclass(frozen=True, kw_only=True)
class TrialList:
    """Trials between the utterances of a data directory.

    Attributes:
        name: for people.
        trials: the list.
        utterances: the M utterances of the list, in its order.
        speaker_M: their speakers, numbered.
    """

    name: str
    trials: Trials
    utterances: list[Utterance]
    speaker_M: np.ndarray

    @property
    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """Speakers of the first and the second utterance of each trial, (N,) each."""
        return self.speaker_M[self.trials.first], self.speaker_M[self.trials.second]

    def embed(
        self,
        model: SpeakerEmbedder,
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
        *,
        channel: int | None = None,
    ) -> np.ndarray:
        """Embeddings of the utterances, (M, D).

        Args:
            model: the model.
            on_progress: called with (utterances embedded, of how many).
            channel: of multichannel files; None averages them.

        Raises:
            InputError: an utterance cannot be read.
        """
        found = embed_corpus(model, self.utterances, channel=channel, on_progress=on_progress)
        return np.concatenate([each.embeddings_ND for each in found])

    def cosines(self, rows_MD: np.ndarray) -> np.ndarray:
        """Scores of the trials, (N,)."""
        return score_trials(cosine(rows_MD), self.trials.first, self.trials.second)

    def eer(self, scores: np.ndarray) -> float:
        """Equal error rate in [0, 1]."""
        return equal_error_rate(error_rates(scores, self.trials.is_target))[0]

    def resampled(self, scores: np.ndarray, *, resamples: int = 1000, seed: int = 0) -> np.ndarray:
        """EERs of resamples of the speakers, which are the same for all scores of these trials."""
        return resampled_eers(scores, self.trials.is_target, *self.sides, resamples=resamples, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Equal error rates of cosine scores, as fractions.

    Attributes:
        list: name of the trials.
        num_target: trials of the same speaker.
        num_nontarget: trials of different speakers.
        num_speakers: speakers, who are resampled.
        before: EER of the model that was given.
        after: EER of the fine-tuned one.
        difference: after less before: below 0 if fine-tuning helped.
        low: lower end of the interval of the difference.
        high: upper end.
        confidence: of the interval.
        chosen: whether the step of the fine-tuned model was chosen on these trials, which flatters it.
    """

    list: str
    num_target: int
    num_nontarget: int
    num_speakers: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    confidence: float
    chosen: bool

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def trial_file(directory: Path, made: Path, *, most: int, seed: int) -> Path:
    """The list of trials of a data directory: its own, ``trials``, or one that is made from ``utt2spk``.

    Args:
        directory: Kaldi data directory.
        made: where a list that has to be made is written.
        most: of how many trials.
        seed: random seed of a choice among more.

    Raises:
        InputError: the directory has neither, or there is no pair of the same, or of different speakers.
    """
    if (directory / "trials").is_file():
        return directory / "trials"
    if not made.is_file():
        pairs = _pairs(read_table(_speakers_file(directory)), most, seed, directory)
        atomic_write_text(made, "".join(f"{int(same)} {a} {b}\n" for a, b, same in pairs))
    return made


def read_trial_list(directory: Path, file: Path) -> TrialList:
    """Read the trials of a data directory.

    Raises:
        InputError: a file is missing or malformed, utterances or speakers are missing, or there are trials of
            one kind only.
    """
    trials = read_trials(file)
    if trials.is_target.all() or not trials.is_target.any():
        raise InputError("needs target and non-target trials for an EER", path=file)
    by_id = {utterance.id: utterance for utterance in read_data_dir(directory)}
    missing = next((name for name in trials.ids if name not in by_id), None)
    if missing is not None:
        raise InputError(f"the trials contain {missing!r}, which is not in {directory}", path=file)
    source = _speakers_file(directory)
    return TrialList(
        name=str(directory),
        trials=trials,
        utterances=[by_id[name] for name in trials.ids],
        speaker_M=number_speakers(trials, read_table(source), source),
    )


def before_and_after(
    before: SpeakerEmbedder,
    after: SpeakerEmbedder,
    listed: TrialList,
    *,
    chosen: bool,
    resamples: int,
    seed: int,
    channel: int | None = None,
    scores: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Compared:
    """Score the same trials with two models; the interval of the difference is a paired bootstrap.

    Both models see the same resamples of the speakers (`TrialList.resampled`).

    Args:
        before: the one.
        after: the other.
        listed: the trials.
        chosen: see `Compared`.
        resamples: of the bootstrap.
        seed: random seed of the bootstrap.
        channel: of multichannel files; None averages them.
        scores: file for the scores of both (``.npz``); None for none.
        on_progress: called with (utterances embedded, of how many).

    Raises:
        InputError: an utterance cannot be read.
    """
    trials, count = listed.trials, len(listed.utterances)

    def scores_of(number: int, model: SpeakerEmbedder) -> np.ndarray:
        def shown(done: int, _total: int) -> None:
            on_progress(number * count + done, 2 * count)

        return listed.cosines(listed.embed(model, shown, channel=channel))

    found = [scores_of(number, model) for number, model in enumerate((before, after))]
    if scores is not None:
        scores.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(scores) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                before=found[0].astype(np.float32),
                after=found[1].astype(np.float32),
                is_target=trials.is_target,
                first=listed.sides[0],
                second=listed.sides[1],
            )
    eers = [listed.eer(one) for one in found]
    drawn = [listed.resampled(one, resamples=resamples, seed=seed) for one in found]
    interval = percentile_interval(drawn[1] - drawn[0], _CONFIDENCE)
    return Compared(
        list=listed.name,
        num_target=int(trials.is_target.sum()),
        num_nontarget=int((~trials.is_target).sum()),
        num_speakers=len(np.unique(listed.speaker_M)),
        before=eers[0],
        after=eers[1],
        difference=eers[1] - eers[0],
        low=interval.low,
        high=interval.high,
        confidence=_CONFIDENCE,
        chosen=chosen,
    )


def _speakers_file(directory: Path) -> Path:
    if not (directory / "utt2spk").is_file():
        raise InputError(
            "has no utt2spk, from which trials are made and whose speakers the interval resamples",
            path=directory,
            hint="write 'utterance speaker' lines there",
        )
    return directory / "utt2spk"


def refuse_shared_speech(one: Sequence[Utterance], other: Sequence[Utterance], what: tuple[str, str]) -> None:
    """Refuse two sets that share a recording or, as far as their names say, a speaker.

    Recordings are compared by file and start. Speakers are compared by name, which in two corpora may be of
    two people: if they share names but no recording, a warning says so.

    Args:
        one: a set.
        other: another one.
        what: what they are, for messages.

    Raises:
        InputError: a recording is in both.
    """
    shared = _shared(one, other)
    if shared:
        raise InputError(
            f"{what[1]} and {what[0]} share {len(shared)} utterances, such as {shared[0].id!r}: figures "
            "would be of speech that is known already",
            path=shared[0].path,
            hint="keep them apart by speaker ('sdpn data subset')",
        )
    _warn_of_shared_names(one, other, what)


def warn_of_shared_speech(
    one: Sequence[Utterance], other: Sequence[Utterance], what: tuple[str, str]
) -> None:
    """Warn of what `refuse_shared_speech` refuses, where the second set is only measured on."""
    shared = _shared(one, other)
    if shared:
        _log.warning(
            "%s and %s share %d utterances, such as %r: figures are of speech that is known already",
            what[1],
            what[0],
            len(shared),
            shared[0].id,
        )
    else:
        _warn_of_shared_names(one, other, what)


def _shared(one: Sequence[Utterance], other: Sequence[Utterance]) -> list[Utterance]:
    """Those of the second set that are in the first."""
    places = {_place(utterance) for utterance in one}
    return [utterance for utterance in other if _place(utterance) in places]


def _warn_of_shared_names(
    one: Sequence[Utterance], other: Sequence[Utterance], what: tuple[str, str]
) -> None:
    names = _speakers(one) & _speakers(other)
    if names:
        _log.warning(
            "%s and %s both have speaker %r (%d such names): if that is one person, figures are too good",
            what[0],
            what[1],
            min(names),
            len(names),
        )


def _place(utterance: Utterance) -> tuple[str, float]:
    return str(utterance.path.resolve()), utterance.start_s


def _speakers(utterances: Iterable[Utterance]) -> set[str]:
    return {one.speaker for one in utterances if one.speaker is not None}


def _pairs(speaker_of: dict[str, str], most: int, seed: int, directory: Path) -> list[tuple[str, str, bool]]:
    """At most ``most`` pairs: of the same speaker, and of different ones as many as there is room for."""
    rng = np.random.default_rng(seed)
    names = sorted(speaker_of)
    of_speaker: dict[str, list[int]] = {}
    for index in rng.permutation(len(names)).tolist():
        of_speaker.setdefault(speaker_of[names[index]], []).append(index)
    if len(of_speaker) < 2:
        raise InputError("has utterances of one speaker only; trials need several", path=directory)
    same = [
        (min(a, b), max(a, b))
        for members in of_speaker.values()
        for place, a in enumerate(members[:_MOST_OF_SPEAKER])
        for b in members[place + 1 : _MOST_OF_SPEAKER]
    ]
    if not same:
        raise InputError(
            "has one utterance of every speaker; trials need two of some",
            path=directory,
            hint="add utterances, or a file trials",
        )
    # at most half of them, so that there are as many of different speakers at least
    same = [same[index] for index in rng.permutation(len(same))[: max(1, most // 2)]]
    speaker_N = np.unique([speaker_of[name] for name in names], return_inverse=True)[1]
    room = most - len(same)
    if len(names) * (len(names) - 1) // 2 <= 4 * room:
        first, second = np.triu_indices(len(names), k=1)
        kept = np.flatnonzero(speaker_N[first] != speaker_N[second])
        kept = rng.permutation(kept)[:room]
        different = list(zip(first[kept].tolist(), second[kept].tolist(), strict=True))
    else:
        drawn = rng.integers(len(names), size=(4 * room, 2))
        drawn.sort(axis=1)
        drawn = np.unique(drawn[speaker_N[drawn[:, 0]] != speaker_N[drawn[:, 1]]], axis=0)
        different = [tuple(pair) for pair in rng.permutation(drawn)[:room].tolist()]
    pairs = [(names[a], names[b], True) for a, b in same]
    return sorted(pairs + [(names[a], names[b], False) for a, b in different])
