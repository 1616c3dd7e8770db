"""Scores of a list of trials from tables of embeddings: by the cosine, a PLDA, AS-norm, or a back end.

Shapes: M utterances, N trials, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdpn.errors import InputError
from sdpn.io.ark import open_ark, vector_at
from sdpn.io.kaldi import read_table, read_vectors
from sdpn.io.trials import Trials
from sdpn.verification.plda import Plda, read_plda
from sdpn.verification.similarity import Similarity, cosine
from sdpn.verification.storage import model_of_embeddings, read_back_end
from sdpn.verification.trial_scores import as_norm, cohort_statistics, score_trials


class ScoredTrials(NamedTuple):
    """Scores of trials, and how they were computed.

    Attributes:
        scores: (N,), higher for more similar speakers.
        steps: description of the steps, the kind of score first.
        is_normalised: whether AS-norm was applied.
    """

    scores: np.ndarray
    steps: list[str]
    is_normalised: bool


def score_trial_list(
    trials: Trials,
    embeddings: Path,
    *,
    back_end: Path | None = None,
    mean: Path | None = None,
    plda: Path | None = None,
    cohort: Path | None = None,
    top: int = 300,
) -> ScoredTrials:
    """Score trials between the embeddings of a table.

    Args:
        trials: from `sdpn.io.trials.read_trials`.
        embeddings: Kaldi scp or ark.
        back_end: model folder or back-end file; excludes all following arguments.
        mean: scp or ark whose mean is subtracted first, or a file with one Kaldi vector.
        plda: Kaldi PLDA in place of the cosine.
        cohort: scp or ark of the AS-norm cohort, of speakers outside the trials.
        top: number of highest cohort scores used.

    Raises:
        InputError: a file cannot be read, an utterance has no embedding, or dimensions differ.
    """
    if back_end is not None and (mean or plda or cohort):
        raise ValueError("a back end includes a mean, a PLDA and a cohort")
    rows = _rows(trials, read_vectors(embeddings), embeddings)
    if back_end is not None:
        return ScoredTrials(*_by_back_end(trials, rows, embeddings, back_end), is_normalised=True)
    scored = _by_steps(trials, rows, embeddings, mean_path=mean, plda_path=plda, cohort_path=cohort, top=top)
    return ScoredTrials(*scored, is_normalised=cohort is not None)


def speakers_of_trials(trials: Trials, path: Path) -> np.ndarray:
    """Number the speaker of each utterance, from the 'utterance speaker' lines of a file (utt2spk).

    Raises:
        InputError: as `number_speakers`.
    """
    return number_speakers(trials, read_table(path), path)


def number_speakers(trials: Trials, table: Mapping[str, str], path: Path) -> np.ndarray:
    """Number the speaker of each utterance.

    Args:
        trials: M utterances.
        table: speakers by utterance.
        path: where they come from, for messages.

    Returns:
        integer (M,).

    Raises:
        InputError: an utterance has no speaker, or the speakers contradict the labels of the trials.
    """
    is_unknown = np.array([name not in table for name in trials.ids])
    if is_unknown.any():
        name, line = _first_trial(trials, is_unknown)
        raise InputError(f"utterance {name!r} has no speaker in {path}", path=trials.path, line=line)
    numbers: dict[str, int] = {}
    speakers = np.array([numbers.setdefault(table[name], len(numbers)) for name in trials.ids])
    is_wrong = (speakers[trials.first] == speakers[trials.second]) != trials.is_target
    if is_wrong.any():
        trial = int(np.argmax(is_wrong))
        names = [trials.ids[trials.first[trial]], trials.ids[trials.second[trial]]]
        raise InputError(
            f"a {'target' if trials.is_target[trial] else 'non-target'} trial of {names[0]!r}, who is"
            f" {table[names[0]]!r} in {path}, and {names[1]!r}, who is {table[names[1]]!r}"
            f" ({is_wrong.sum()} such trials)",
            path=trials.path,
            line=int(trials.lines[trial]),
        )
    return speakers


def _by_back_end(
    trials: Trials, rows: np.ndarray, embeddings: Path, path: Path
) -> tuple[np.ndarray, list[str]]:
    """Scores (N,) of a back end, and a description of its steps."""
    back_end = read_back_end(path)
    back_end.refuse_other_model(model_of_embeddings(embeddings), path=embeddings)
    try:
        scores = back_end.score(rows, trials.first, trials.second)
    except InputError as error:
        raise InputError(error.message, path=embeddings, hint=error.hint) from None
    return scores, [
        "PLDA log-likelihood ratio",
        "mean subtracted",
        "length 1",
        f"AS-norm (top {back_end.top} of {len(back_end.cohort_CD)})",
    ]


def _by_steps(
    trials: Trials,
    rows: np.ndarray,
    embeddings: Path,
    *,
    mean_path: Path | None,
    plda_path: Path | None,
    cohort_path: Path | None,
    top: int,
) -> tuple[np.ndarray, list[str]]:
    """Scores (N,) by the steps given and their description."""
    mean = None if mean_path is None else _mean(mean_path, rows.shape[1])
    plda = None if plda_path is None else read_plda(plda_path)
    utterances = _similarity(rows, trials.ids, embeddings, mean, plda)
    scores = score_trials(utterances, trials.first, trials.second)
    kind = "cosine" if plda_path is None else "PLDA log-likelihood ratio"
    steps = [kind] + ["mean subtracted"] * (mean is not None)
    if cohort_path is not None:
        cohort = read_vectors(cohort_path)
        cohort_rows = np.stack(list(cohort.values()))
        if cohort_rows.shape[1] != rows.shape[1]:
            raise InputError(
                f"the cohort has {cohort_rows.shape[1]} dimensions, the embeddings have {rows.shape[1]}",
                path=cohort_path,
            )
        cohort_similarity = _similarity(cohort_rows, list(cohort), cohort_path, mean, plda)
        top = min(top, len(cohort_similarity))
        scores = _normalised(scores, trials, utterances, cohort_similarity, top, cohort_path)
        steps.append(f"AS-norm (top {top} of {len(cohort_similarity)})")
    return scores, steps


def _rows(trials: Trials, vectors: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    """The embeddings of ``trials.ids``, float32 (M, D)."""
    is_unknown = np.array([name not in vectors for name in trials.ids])
    if is_unknown.any():
        name, line = _first_trial(trials, is_unknown)
        raise InputError(
            f"utterance {name!r} has no embedding in {path}"
            f" ({is_unknown.sum()} of {len(is_unknown)} utterances have none)",
            path=trials.path,
            line=line,
        )
    return np.stack([vectors[name] for name in trials.ids])


def _first_trial(trials: Trials, is_marked: np.ndarray) -> tuple[str, int]:
    """The first trial with a marked utterance: the utterance's name, and the trial's line."""
    trial = int(np.argmax(is_marked[trials.first] | is_marked[trials.second]))
    at = next(at for at in (trials.first[trial], trials.second[trial]) if is_marked[at])
    return trials.ids[at], int(trials.lines[trial])


def _mean(path: Path, dimension: int) -> np.ndarray:
    """The mean of a table of vectors, or the one vector of a file; float64 (D,)."""
    if path.suffix in (".scp", ".ark"):
        mean: np.ndarray = np.stack(list(read_vectors(path).values())).mean(axis=0, dtype=np.float64)
    else:
        try:
            mean = vector_at(open_ark(path), 0)[0].astype(np.float64)
        except FileNotFoundError:
            raise InputError("no such file", path=path) from None
        except (OSError, ValueError) as error:
            raise InputError(
                f"is not a Kaldi vector ({error})",
                path=path,
                hint="the name of a table of vectors must end in .scp or .ark",
            ) from error
        if not np.isfinite(mean).all():
            raise InputError("the vector contains NaN or infinite values", path=path)
    if len(mean) != dimension:
        raise InputError(f"has {len(mean)} dimensions, but the embeddings have {dimension}", path=path)
    return mean


def _similarity(
    rows: np.ndarray, names: list[str], path: Path, mean: np.ndarray | None, plda: Plda | None
) -> Similarity:
    """The similarity of embeddings: cosine or PLDA, after subtraction of the mean."""
    rows = rows.astype(np.float64)
    if mean is not None:
        rows -= mean
    is_zero = ~rows.any(axis=1)
    if is_zero.any():
        raise InputError(
            f"the embedding of {names[int(np.argmax(is_zero))]!r} is all zeros and has no direction",
            path=path,
            hint="extract it again" if mean is None else "it equals the mean",
        )
    return cosine(rows) if plda is None else plda.similarity(rows)


def _normalised(
    scores: np.ndarray, trials: Trials, utterances: Similarity, cohort: Similarity, top: int, path: Path
) -> np.ndarray:
    """AS-norm of the scores (N,)."""
    means, deviations = cohort_statistics(utterances, cohort, top=top)
    if not deviations.all():
        raise InputError(
            f"the {top} highest scores of {trials.ids[int(np.argmin(deviations))]!r} against the cohort "
            "are all equal, so their standard deviation is zero",
            path=path,
            hint="use a cohort of hundreds of different utterances",
        )
    return as_norm(scores, trials.first, trials.second, means, deviations)
