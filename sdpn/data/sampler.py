"""The utterances of a batch as a function of the step.

Each corpus is an endless sequence of shuffled epochs, or of such sequences of its classes. The positions of
all batches are distributed over the corpora by a repeating pattern, so that each corpus has its share in any
range of positions: batch ``s`` has positions s·B … s·B + B − 1, each of which can be computed without those
before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from torch.utils.data import Sampler

from sdpn.errors import InputError

#: (epoch of its corpus, index of the utterance): an item of the sampler.
Item = tuple[int, int]

#: Length of the pattern for several corpora: shares are exact to a ten-thousandth.
_PATTERN = 10_000


@dataclass(frozen=True, eq=False)
class InOrder:
    """Reading in the order of the files, which disks and networks deliver faster than random access.

    In every epoch the shards come in another random order. Each is read from its beginning, and its
    utterances are shuffled locally: none comes ``buffer`` places or more from where it is read. That is what
    a shuffle buffer of this size can do; but here the whole order follows from seed and epoch, so that a run
    resumes anywhere, and any number of processes share it.

    Attributes:
        buffer: size of the buffer in utterances.
        starts_M: index of the first utterance of each shard, ascending from 0.
    """

    buffer: int
    starts_M: np.ndarray

    def order(self, first: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """An order of the utterances ``first`` to ``first + size - 1``, (size,) counted from ``first``.

        Args:
            first: where a corpus begins; a shard that began before is cut there.
            size: its number of utterances.
            rng: random generator.
        """
        inner = self.starts_M[(self.starts_M > first) & (self.starts_M < first + size)] - first
        starts_M = np.concatenate([[0], inner])
        sizes_M = np.diff(np.append(starts_M, size))
        shard_M = rng.permutation(len(starts_M))
        sizes_M = sizes_M[shard_M]
        shifts_M = starts_M[shard_M] - (np.cumsum(sizes_M) - sizes_M)
        places_N = np.arange(size)
        read_N = places_N + np.repeat(shifts_M, sizes_M)
        shuffled: np.ndarray = read_N[np.argsort(places_N + self.buffer * rng.random(size), kind="stable")]
        return shuffled


@dataclass(frozen=True)
class Mixture:
    """Sizes and weights of the corpora, which follow each other in the list of utterances.

    Attributes:
        sizes: number of utterances of each corpus.
        weights: relative weight of each corpus in the batches; empty: all utterances have the same weight.
        label_N: class of each utterance, which are then drawn equally often; below 0, or None, for none. The
            utterances of a corpus all have a class, or none has.
        in_order: how to read them in the order of their files; None: in random order.
    """

    sizes: tuple[int, ...]
    weights: tuple[float, ...] = ()
    label_N: np.ndarray | None = field(default=None, compare=False, repr=False)
    in_order: InOrder | None = None

    def __post_init__(self) -> None:
        """Check that there is a positive weight for each corpus."""
        if self.weights and len(self.weights) != len(self.sizes):
            raise InputError(
                f"training.corpus_weights has {len(self.weights)} values for {len(self.sizes)} corpora",
                hint="give one for each --data directory, in their order, or none",
            )
        if any(not weight > 0 or weight == float("inf") for weight in self.weights):
            raise InputError(f"training.corpus_weights must be positive, found {list(self.weights)}")

    @property
    def num_utterances(self) -> int:
        """Total number of utterances."""
        return sum(self.sizes)


class StepSampler(Sampler[list[Item]]):
    """Yields the batch of each step from ``start_step`` to ``end_step``, or one process's share of it.

    Args:
        mixture: sizes and weights of the corpora.
        batch_size: batch size over all processes.
        seed: random seed of the order.
        start_step: first step.
        end_step: one past the last.
        share: (rank, world): the rank-th of ``world`` equal parts of each batch.
    """

    def __init__(
        self,
        mixture: Mixture,
        batch_size: int,
        *,
        seed: int,
        start_step: int,
        end_step: int,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        sizes = mixture.sizes if mixture.weights else (mixture.num_utterances,)
        self._sizes = sizes
        self._in_order = mixture.in_order
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._pattern = _pattern(mixture.weights)
        # occurrences of each corpus in the pattern, and before each position
        self._counts = np.bincount(self._pattern, minlength=len(sizes))
        occurred = np.cumsum(self._pattern[:, None] == np.arange(len(sizes)), axis=0)
        self._before = occurred[np.arange(len(self._pattern)), self._pattern] - 1
        self._batch_size = batch_size
        self._seed = seed
        self._start_step = start_step
        self._end_step = end_step
        self._orders: dict[tuple[int, ...], tuple[int, np.ndarray]] = {}
        self._members = [
            _members(mixture.label_N[start:end]) if mixture.label_N is not None else []
            for start, end in pairwise(self._starts)
        ]
        rank, world = share
        self._own = slice(rank * batch_size // world, (rank + 1) * batch_size // world)

    def __len__(self) -> int:
        """Return the number of batches."""
        return max(0, self._end_step - self._start_step)

    def __iter__(self) -> Iterator[list[Item]]:
        """Yield lists of (epoch, index)."""
        for step in range(self._start_step, self._end_step):
            places = range(step * self._batch_size, (step + 1) * self._batch_size)
            yield [self._item(place) for place in places[self._own]]

    def _item(self, place: int) -> Item:
        repeat, at = divmod(place, len(self._pattern))
        corpus = int(self._pattern[at])
        drawn = repeat * int(self._counts[corpus]) + int(self._before[at])
        start, members = int(self._starts[corpus]), self._members[corpus]
        if not members:
            epoch, position = divmod(drawn, self._sizes[corpus])
            return epoch, start + int(self._order(epoch, self._sizes[corpus], corpus)[position])
        # every class is drawn once before any is drawn again, and so is every utterance of a class
        turn, position = divmod(drawn, len(members))
        chosen = int(self._order(turn, len(members), corpus, 0)[position])
        own = members[chosen]
        epoch, position = divmod(turn, len(own))
        return epoch, start + int(own[self._order(epoch, len(own), corpus, 1, chosen)[position]])

    def _order(self, epoch: int, size: int, *of: int) -> np.ndarray:
        """A shuffled order of an epoch; the latest one of each corpus, or class, is cached."""
        known, order = self._orders.get(of, (-1, np.empty(0, dtype=np.int64)))
        if known != epoch:
            rng = np.random.default_rng((self._seed, epoch, *of))
            if self._in_order is None:
                order = rng.permutation(size)
            else:
                order = self._in_order.order(int(self._starts[of[0]]), size, rng)
            self._orders[of] = epoch, order
        return order


def _members(label_N: np.ndarray) -> list[np.ndarray]:
    """Indices of the members of each class that there is; empty if there are no classes."""
    if not len(label_N) or label_N[0] < 0:
        return []
    order = np.argsort(label_N, kind="stable")
    _, counts = np.unique(label_N, return_counts=True)
    return np.split(order, np.cumsum(counts)[:-1])


def _pattern(weights: Sequence[float]) -> np.ndarray:
    """The corpus at each position of the pattern: evenly spread, in proportion to the weights."""
    if len(weights) < 2:
        return np.zeros(1, dtype=np.int64)
    exact = np.asarray(weights) / sum(weights) * _PATTERN
    counts = np.maximum(1, np.floor(exact)).astype(np.int64)
    remainders = np.argsort(counts - exact, kind="stable")  # largest remainder first
    counts[remainders[: max(0, _PATTERN - int(counts.sum()))]] += 1
    at = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    corpora: np.ndarray = np.repeat(np.arange(len(counts)), counts)
    return corpora[np.argsort(at, kind="stable")]
