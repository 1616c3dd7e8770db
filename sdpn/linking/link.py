"""Speakers of recordings to people: average linkage of normalised scores, without an N x N matrix.

Average linkage joins two clusters only if some pair of theirs reaches the threshold, so the clusters lie
within the connected components of these pairs. The components are found from blocks of rows of the score
matrix, and each is then clustered for itself: the same result as from the whole matrix. A component that is
too large for a matrix of its own is first divided at higher thresholds; its clusters then stand for their
members, by their mean embeddings, in a second stage.

Shapes: N speakers, M of one component, D embedding dimensions.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdpn.clustering.linkage import components, merge_tree
from sdpn.errors import InputError
from sdpn.io.arrays import read_npz
from sdpn.io.atomic import atomic_path
from sdpn.io.parsing import parsing
from sdpn.linking.scores import PairScores, ScoreModel
from sdpn.verification.back_end import BackEnd

_log = logging.getLogger(__name__)

#: Most speakers whose scores are in memory as a matrix: 1.6 GB.
MOST_AT_ONCE = 20_000

#: By how much the threshold rises to divide a component that is larger.
_STEP = 0.5

#: Rows of scores of one person at a time; pairs that the missed links are estimated from.
_ROWS, _MISSED_PAIRS = 1000, 20_000_000

#: Distance of two that cannot be one person: no mean with it falls below any threshold.
_NEVER = 1e6

#: Called with the speakers compared with all others so far, and all.
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Links:
    """Who is the same person.

    Attributes:
        person_N: number of the person of each speaker, from 0.
        threshold: mean score from which on two clusters are one person.
        expected_links: number of pairs of one person in different recordings, as the scores have it.
        precision: estimated share of the linked pairs that are one person; None without links.
        recall: estimated share of the pairs of one person that are linked; None if there is none.
    """

    person_N: np.ndarray
    threshold: float
    expected_links: float
    precision: float | None
    recall: float | None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both."""
        if self.precision is None or self.recall is None or not self.precision + self.recall:
            return None
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def link(
    emb_ND: np.ndarray,
    recording_N: np.ndarray,
    back_end: BackEnd,
    model: ScoreModel,
    *,
    threshold: float | None = None,
    most_at_once: int = MOST_AT_ONCE,
    progress_file: Path | None = None,
    parts: Sequence[Path] | None = None,
    on_progress: OnProgress = lambda _done, _total: None,
) -> Links:
    """Link speakers of different recordings; two of one recording are never one person.

    Args:
        emb_ND: embeddings of the speakers.
        recording_N: index of the recording of each.
        back_end: of the model that computed them.
        model: of the scores (`sdpn.linking.scores.fit_scores`).
        threshold: mean score for one person; None takes where one person is more probable than two.
        most_at_once: most speakers in one matrix.
        progress_file: where finished blocks are kept, so that an interrupted run goes on.
        parts: files of `score_shard`, which have compared everybody: the result is the same.
        on_progress: called after each block.

    Raises:
        InputError: the parts do not belong to these speakers, or lack a comparison or have one twice.
    """
    scores = PairScores(emb_ND, back_end)
    least = model.threshold if threshold is None else threshold
    if parts is None:
        label_N = _reachable(scores, recording_N, model, least, progress_file, on_progress)
    else:
        label_N = _from_parts(scores, recording_N, model, least, parts)
    person_N = np.arange(len(scores))
    for members in _groups(label_N):
        if len(members) == 1:
            continue
        if len(members) <= most_at_once:
            labels = _average(scores.between(members, members), recording_N[members], least)
        else:
            _log.info("%d speakers are connected: linked in two stages", len(members))
            labels = _two_stages(emb_ND[members], recording_N[members], back_end, least, most_at_once)
        person_N[members] = members[_firsts(labels)]
    person_N = np.unique(person_N, return_inverse=True)[1]
    right, linked = _right_links(person_N, scores, recording_N, model)
    expected = right + _missed_links(person_N, scores, recording_N, model)
    return Links(
        person_N=person_N,
        threshold=least,
        expected_links=expected,
        precision=right / linked if linked else None,
        recall=right / expected if expected > 0 else None,
    )


def _reachable(
    scores: PairScores,
    recording_N: np.ndarray,
    model: ScoreModel,
    threshold: float,
    progress_file: Path | None,
    on_progress: OnProgress,
) -> np.ndarray:
    """Components (N,) of the pairs that reach a threshold."""
    key = _key(scores, recording_N, model, threshold)
    label_N, start = np.arange(len(scores)), 0
    if progress_file is not None and progress_file.is_file():
        stored = read_npz(progress_file)
        if str(stored["key"]) == key:
            label_N, start = stored["labels"], int(stored["next"])
    for begin, end in scores.blocks(start):
        label_N = _add_block(scores, recording_N, threshold, label_N, begin, end)
        if progress_file is not None:
            with atomic_path(progress_file) as temporary, open(temporary, "wb") as stream:
                np.savez(stream, key=key, labels=label_N, next=end)
        on_progress(end, len(scores))
    return label_N


def _add_block(
    scores: PairScores,
    recording_N: np.ndarray,
    threshold: float,
    label_N: np.ndarray,
    begin: int,
    end: int,
) -> np.ndarray:
    """Components with the pairs of a block of rows."""
    block = scores.between(slice(begin, end), slice(begin, None))
    later = np.arange(begin, len(scores))[None] > np.arange(begin, end)[:, None]
    block[~later | (recording_N[begin:end][:, None] == recording_N[begin:][None])] = -np.inf
    rows, columns = np.nonzero(block >= threshold)
    return _joined(label_N, np.stack([rows + begin, columns + begin], axis=1))


def _joined(label_N: np.ndarray, pairs_P2: np.ndarray) -> np.ndarray:
    """Components of components, each a tree of its members to their label, and of pairs."""
    tree_N2 = np.stack([np.arange(len(label_N)), label_N], axis=1)
    return _firsts(components(np.concatenate([tree_N2, pairs_P2]), len(label_N)))


def score_shard(
    emb_ND: np.ndarray,
    recording_N: np.ndarray,
    back_end: BackEnd,
    model: ScoreModel,
    numbers: Callable[[Sequence[int]], Sequence[int]],
    path: Path,
    *,
    threshold: float | None = None,
    on_progress: OnProgress = lambda _done, _total: None,
) -> int:
    """Compare some of the speakers with all others, for `link` with ``parts``.

    Args:
        emb_ND: as in `link`, like all that is not described here.
        recording_N: as in `link`.
        back_end: as in `link`.
        model: as in `link`.
        numbers: chooses from the numbers of all blocks of rows those of this shard.
        path: file that is written.
        threshold: as in `link`.
        on_progress: called with the blocks done, and all of this shard.

    Returns:
        the number of blocks.
    """
    scores = PairScores(emb_ND, back_end)
    least = model.threshold if threshold is None else threshold
    blocks = list(scores.blocks())
    chosen = numbers(range(len(blocks)))
    label_N = np.arange(len(scores))
    for done, number in enumerate(chosen, start=1):
        label_N = _add_block(scores, recording_N, least, label_N, *blocks[number])
        on_progress(done, len(chosen))
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.savez(
            stream,
            key=_key(scores, recording_N, model, least),
            labels=label_N,
            blocks=np.array(chosen, dtype=np.int64),
        )
    return len(chosen)


def _from_parts(
    scores: PairScores, recording_N: np.ndarray, model: ScoreModel, threshold: float, parts: Sequence[Path]
) -> np.ndarray:
    """What `score_shard` has written, put together.

    Raises:
        InputError: a part is damaged or of another archive, or a block is in none or two of them.
    """
    key = _key(scores, recording_N, model, threshold)
    label_N = np.arange(len(scores))
    origin: dict[int, Path] = {}
    for path in parts:
        with parsing(path, "is not the part of a shard of 'sdpn link'"):
            stored = read_npz(path)
            if str(stored["key"]) != key:
                raise InputError(
                    "was made of other documents, with another back end or threshold",
                    path=path,
                    hint="run the shards again; 'sdpn batch --force' repeats all",
                )
            for number in stored["blocks"].tolist():
                if number in origin:
                    raise InputError(
                        f"block {number} of the comparisons is also in {origin[number].name}",
                        path=path,
                        hint="shards of different counts were run: remove those of one of them",
                    )
                origin[number] = path
            label_N = _joined(label_N, np.stack([np.arange(len(label_N)), stored["labels"]], axis=1))
    blocks = range(len(list(scores.blocks())))
    missing = [number for number in blocks if number not in origin]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(blocks)} blocks of the comparisons are missing",
            path=parts[0].parent if parts else None,
            hint="run the shards that are not finished, with the same commands",
        )
    return label_N


def _key(scores: PairScores, recording_N: np.ndarray, model: ScoreModel, threshold: float) -> str:
    """Digest of what a block depends on."""
    some = np.linspace(0, len(scores) - 1, min(len(scores), 1000)).astype(np.int64)
    digest = hashlib.sha256(repr([len(scores), model, threshold]).encode())
    digest.update(recording_N.astype(np.int64).tobytes())
    digest.update(scores.of_pairs(some, some[::-1].copy()).tobytes())
    return digest.hexdigest()


def _firsts(label_N: np.ndarray) -> np.ndarray:
    """The first member of each one's cluster."""
    _, first, inverse = np.unique(label_N, return_index=True, return_inverse=True)
    firsts_N: np.ndarray = first[inverse]
    return firsts_N


def _groups(label_N: np.ndarray) -> list[np.ndarray]:
    """Members of each cluster."""
    order = np.argsort(label_N, kind="stable")
    cuts = np.flatnonzero(np.diff(label_N[order])) + 1
    return np.split(order, cuts)


def _average(scores_MM: np.ndarray, recording_M: np.ndarray, threshold: float) -> np.ndarray:
    """Labels (M,) of average linkage down to a mean score."""
    distance_MM = -scores_MM
    distance_MM[recording_M[:, None] == recording_M] = _NEVER
    edges, heights = merge_tree(distance_MM, np.ones(len(scores_MM)), "average")
    return components(edges[heights <= -threshold], len(scores_MM))


def _two_stages(
    emb_MD: np.ndarray, recording_M: np.ndarray, back_end: BackEnd, threshold: float, most_at_once: int
) -> np.ndarray:
    """Labels (M,) of a component that is too large for a matrix."""
    scores = PairScores(emb_MD, back_end)
    label_M = np.zeros(len(emb_MD), dtype=np.int64)
    higher = threshold
    while max(map(len, _groups(label_M))) > most_at_once:
        higher += _STEP
        label_M = _components_at(scores, recording_M, higher)
    person_M = np.arange(len(emb_MD))
    for members in _groups(label_M):
        labels = _average(scores.between(members, members), recording_M[members], higher)
        person_M[members] = members[_firsts(labels)]
    people = _groups(person_M)
    if len(people) > most_at_once:
        _log.warning(
            "%d clusters are still connected at the threshold: they are left apart; a higher --threshold "
            "would divide them",
            len(people),
        )
        return person_M
    means_PD = np.stack([emb_MD[members].mean(axis=0) for members in people])
    means = PairScores(means_PD, back_end)
    labels = _average_of_groups(means, people, recording_M, threshold)
    found_M = np.empty(len(emb_MD), dtype=np.int64)
    for label, members in zip(labels, people, strict=True):
        found_M[members] = label
    return found_M


def _average_of_groups(
    means: PairScores, people: list[np.ndarray], recording_M: np.ndarray, threshold: float
) -> np.ndarray:
    """Labels of clusters by their means; two that share a recording stay apart."""
    distance_PP = -means.between(slice(None), slice(None))
    of_recording: dict[int, list[int]] = {}
    for number, members in enumerate(people):
        for recording in set(recording_M[members].tolist()):
            of_recording.setdefault(recording, []).append(number)
    for numbers in of_recording.values():
        distance_PP[np.ix_(numbers, numbers)] = _NEVER
    sizes = np.array([len(members) for members in people], dtype=np.float64)
    edges, heights = merge_tree(distance_PP, sizes, "average")
    return components(edges[heights <= -threshold], len(people))


def _components_at(scores: PairScores, recording_M: np.ndarray, threshold: float) -> np.ndarray:
    label_M = np.arange(len(scores))
    for begin, end in scores.blocks():
        block = scores.between(slice(begin, end), slice(begin, None))
        block[recording_M[begin:end][:, None] == recording_M[begin:][None]] = -np.inf
        rows, columns = np.nonzero(block >= threshold)
        edges = np.concatenate(
            [np.stack([np.arange(len(scores)), label_M], 1), np.stack([rows + begin, columns + begin], 1)]
        )
        label_M = _firsts(components(edges, len(scores)))
    return label_M


def _right_links(
    person_N: np.ndarray, scores: PairScores, recording_N: np.ndarray, model: ScoreModel
) -> tuple[float, int]:
    """How many of the linked pairs are one person, as the scores have it, and how many are linked.

    What speaks for a pair is not its own score alone: two who both resemble the other appearances of a
    person are that person, however different the two recordings. So it is the mean of their means with the
    others.
    """
    right, linked = 0.0, 0
    for members in _groups(person_N):
        if len(members) == 1:
            continue
        means_M = np.empty(len(members))
        for begin in range(0, len(members), _ROWS):
            rows = members[begin : begin + _ROWS]
            counts = recording_N[rows][:, None] != recording_N[members]
            block = np.where(counts, scores.between(rows, members), 0.0)
            means_M[begin : begin + _ROWS] = block.sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
        for begin in range(0, len(members), _ROWS):
            rows = members[begin : begin + _ROWS]
            counts = members[None] > rows[:, None]
            counts &= recording_N[rows][:, None] != recording_N[members]
            both = 0.5 * (means_M[begin : begin + _ROWS][:, None] + means_M)
            right += float(model.posterior(both[counts]).sum())
            linked += int(counts.sum())
    return right, linked


def _missed_links(
    person_N: np.ndarray, scores: PairScores, recording_N: np.ndarray, model: ScoreModel
) -> float:
    """Number of pairs of one person that are not linked, as the scores have it.

    As in `_right_links`, what counts for a pair is the mean of two means: of each one's scores with all
    appearances of the other's person. Two whose persons share a recording count, too: a diarization may have
    split one there. In a large archive it is estimated from some persons' pairs with all others.
    """
    from scipy.sparse import csr_array

    people, num = _groups(person_N), len(person_N)
    sizes_K = np.array([len(members) for members in people])
    by_person_NK = csr_array((1.0 / sizes_K[person_N], (np.arange(num), person_N)), dtype=np.float32)
    drawn = np.arange(len(people))
    if num * num > _MISSED_PAIRS:
        drawn = np.random.default_rng(0).permutation(len(people))
        drawn = drawn[: max(int(np.searchsorted(np.cumsum(sizes_K[drawn]), _MISSED_PAIRS / num)), 1)]
    missed, begin, at_once = 0.0, 0, max(_MISSED_PAIRS // (8 * num), 1)
    while begin < len(drawn):
        end = begin + max(int(np.searchsorted(np.cumsum(sizes_K[drawn[begin:]]), at_once)), 1)
        rows = np.concatenate([people[number] for number in drawn[begin:end]])
        block = scores.between(rows, slice(None))
        both = (block @ by_person_NK)[:, person_N]
        starts = np.cumsum([0, *sizes_K[drawn[begin : end - 1]]])
        means = np.add.reduceat(block, starts, axis=0) / sizes_K[drawn[begin:end]][:, None]
        both += np.repeat(means, sizes_K[drawn[begin:end]], axis=0)
        both *= 0.5
        counts = both > model.strangers[0]  # lower ones have a posterior of about nothing
        counts &= person_N[rows][:, None] != person_N
        counts &= recording_N[rows][:, None] != recording_N
        missed += float(model.posterior(both[counts].astype(np.float64)).sum())
        begin = end
    return missed / 2 * num / sizes_K[drawn].sum()
