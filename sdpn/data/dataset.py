"""Utterances to batches of crops, in an order and with a randomness that only the step decides.

Which utterances a batch holds is a function of its step (`sdpn.data.sampler`), and every view of an item is
seeded by (run seed, epoch, utterance, view). So a run that starts at step ``s`` sees exactly what an
uninterrupted run sees, with any number of workers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sdpn.data.augment import Augmenter
from sdpn.data.crops import CropBatch, CropConfig, crop
from sdpn.data.sampler import Item, Mixture, StepSampler
from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance

_log = logging.getLogger(__name__)


class Views(NamedTuple):
    """Crops of one utterance.

    Attributes:
        global_GS: (G, S) clean.
        local_VS: (V, S') augmented.
        utterance: its place in the training data.
    """

    global_GS: np.ndarray
    local_VS: np.ndarray
    utterance: int


class CropDataset(Dataset[Views]):
    """Global and local crops of utterances. Speakers are never looked at.

    Args:
        utterances: of all corpora, one corpus after the other.
        crops: how many crops of what length.
        augmenter: what happens to local crops.
        seed: of crops and augmentation.
        cache_mb: memory for decoded audio, for each loader process.
        mixture: where the corpora begin and what they contribute; None: all utterances count the same.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        crops: CropConfig,
        augmenter: Augmenter,
        *,
        seed: int,
        cache_mb: int,
        mixture: Mixture | None = None,
    ) -> None:
        self.mixture = mixture or Mixture((len(utterances),))
        self._utterances = utterances
        self._crops = crops
        self._augmenter = augmenter
        self._seed = seed
        self._cache: dict[int, np.ndarray] = {}
        self._cache_bytes_left = cache_mb * 2**20
        self._warned: set[int] = set()

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self._utterances)

    def __getitem__(self, item: Item) -> Views:
        """Crops of one utterance, float32."""
        epoch, index = item
        # An utterance that is silent throughout gives its place to the next one.
        for offset in range(len(self)):
            views = self._views(epoch, (index + offset) % len(self))
            if views is not None:
                return views
        raise InputError("every utterance of the training data is digitally silent")

    def _views(self, epoch: int, index: int) -> Views | None:
        wave = self._wave(index)
        crops = self._crops
        globals_, locals_ = [], []
        for view in range(crops.num_global + crops.num_local):
            rng = np.random.default_rng((self._seed, epoch, index, view))
            is_global = view < crops.num_global
            piece = crop(wave, crops.global_samples if is_global else crops.local_samples, rng)
            if piece is None:
                if index not in self._warned:
                    self._warned.add(index)
                    _log.warning("%s is digitally silent: skipped", self._utterances[index].path)
                return None
            if is_global:
                globals_.append(piece)
            else:
                locals_.append(self._augmenter(piece, rng, self._draw_speech))
        return Views(np.stack(globals_), np.stack(locals_), index)

    def _draw_speech(self, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        piece = crop(self._wave(int(rng.integers(len(self)))), num_samples, rng)
        return np.zeros(num_samples, dtype=np.float32) if piece is None else piece

    def _wave(self, index: int) -> np.ndarray:
        """Decode an utterance, or take it from the cache, which holds 16-bit samples of the first decoded."""
        cached = self._cache.get(index)
        if cached is not None:
            return cached.astype(np.float32) / 32767
        wave = self._utterances[index].read()
        # Always through 16 bits, so that a cached utterance and a fresh one are the same.
        packed = np.rint(np.clip(wave, -1.0, 1.0) * 32767).astype(np.int16)
        if packed.nbytes <= self._cache_bytes_left:
            self._cache_bytes_left -= packed.nbytes
            self._cache[index] = packed
        return packed.astype(np.float32) / 32767


def load_batches(
    dataset: CropDataset,
    *,
    batch_size: int,
    seed: int,
    start_step: int,
    end_step: int,
    workers: int,
    share: tuple[int, int] = (0, 1),
) -> Iterator[CropBatch]:
    """Yield the `CropBatch` of each step from ``start_step`` to ``end_step``, or a process's share of it.

    Raises:
        InputError: an utterance cannot be used.
    """
    loader: DataLoader[Views | InputError] = DataLoader(
        _Delivering(dataset),
        batch_sampler=StepSampler(
            dataset.mixture, batch_size, seed=seed, start_step=start_step, end_step=end_step, share=share
        ),
        num_workers=workers,
        collate_fn=_collate,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_init_worker,
        # its own generator: starting an iterator draws from it, which must not move the run's random state
        generator=torch.Generator().manual_seed(seed),
    )
    for batch in loader:
        if isinstance(batch, InputError):
            raise batch
        yield batch


class _Delivering(Dataset["Views | InputError"]):
    """Hands an `InputError` over as an item: raised in a loader process, it would arrive as a traceback."""

    def __init__(self, dataset: CropDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, item: Item) -> Views | InputError:
        try:
            return self._dataset[item]
        except InputError as error:
            return error


def _collate(items: list[Views | InputError]) -> CropBatch | InputError:
    """Stack to (G, B, S) and (V, B, S'): view-major, as the objective wants them."""
    views: list[Views] = []
    for item in items:
        if isinstance(item, InputError):
            return item
        views.append(item)
    return CropBatch(
        torch.from_numpy(np.stack([one.global_GS for one in views], axis=1)),
        torch.from_numpy(np.stack([one.local_VS for one in views], axis=1)),
        torch.tensor([one.utterance for one in views]),
    )


def _init_worker(_worker: int) -> None:
    torch.set_num_threads(1)  # the cores belong to the network
