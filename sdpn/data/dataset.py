"""The training data set: utterances to batches of crops, as a function of the step.

The utterances of a batch depend only on its step (`sdpn.data.sampler`), and every view is seeded by (run
seed, epoch, utterance, view). A run resumed at step ``s`` therefore gets exactly the data of an uninterrupted
run, with any number of workers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sdpn.augmentation.augment import Augmenter, Drawn
from sdpn.augmentation.on_device import as_tensors
from sdpn.augmentation.speed import change_speed, samples_needed
from sdpn.data.bad_files import BadFiles, Fault, TooManyBadFiles
from sdpn.data.crops import CropBatch, CropConfig, DrawnCropBatch, crop_range
from sdpn.data.sampler import Item, Mixture, StepSampler
from sdpn.data.utterance_table import UtteranceTable
from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance
from sdpn.io.recordings import Recordings
from sdpn.memory import keep_freed_memory
from sdpn.stopping import inherited_without_signals, obeys_its_parent

_log = logging.getLogger(__name__)

#: Freed memory that a loader process keeps.
KEPT_MB = 128

#: Utterances whose crops are augmented together: enough to fill the SIMD registers, few enough to save
#: memory.
_TOGETHER = 8

#: Purposes of additional random generators of a view.
_ERASURE, _SPEED, _LENGTH = 1, 2, 3
#: Purpose of the generator that draws the substitute of an utterance.
_STAND_IN = 4


class Views(NamedTuple):
    """Crops of one utterance.

    Attributes:
        global_GS: (G, S) clean.
        local_VS: (V, S') augmented.
        utterance: its index in the training data.
        speed: speed factor of all crops.
        erasure_V4: (V, 4) parts of the features of local crops to erase.
        faults: bad files found while reading.
        drawn: augmentation of each local crop that is yet to be applied; empty if it was.
    """

    global_GS: np.ndarray
    local_VS: np.ndarray
    utterance: int
    speed: float
    erasure_V4: np.ndarray
    faults: tuple[Fault, ...] = ()
    drawn: tuple[Drawn, ...] = ()


class _Unaugmented(NamedTuple):
    """Crops of one utterance before augmentation.

    Attributes:
        clean: the G global ones, (S,) each.
        local: the V local ones, (S',) each.
        drawn: augmentation drawn for each local crop.
        utterance: as in `Views`.
        speed: as in `Views`.
        erasure_V4: as in `Views`.
        faults: as in `Views`.
    """

    clean: list[np.ndarray]
    local: list[np.ndarray]
    drawn: list[Drawn]
    utterance: int
    speed: float
    erasure_V4: np.ndarray
    faults: tuple[Fault, ...] = ()


class TrainingSet(Protocol):
    """What `load_batches` loads from: items of the sampler to batches.

    Attributes:
        mixture: sizes and weights of the corpora.
        bad_files: bad files reported by all loader processes of this process.
    """

    mixture: Mixture
    bad_files: BadFiles

    def __len__(self) -> int:
        """Number of items."""

    def __getitems__(self, items: Sequence[Item]) -> Sequence[Any]:
        """The items of a batch.

        Raises:
            InputError: too many files cannot be read, or there is no speech at all.
        """

    def collate(self, items: Sequence[Any]) -> tuple[Any, list[Fault]]:
        """The batch, with the bad files that were found."""


class CropDataset(Dataset[Views]):
    """Global and local crops of utterances. Speaker labels are never used.

    An utterance that is unreadable or digitally silent is substituted by another one, drawn from those that
    are not in the batch, with its own crops: no two rows of a batch are copies.

    Args:
        utterances: utterances of all corpora, corpus by corpus.
        crops: number and length of crops.
        augmenter: augmentation of local crops.
        seed: random seed of crops and augmentation.
        cache_mb: memory for decoded audio, per loader process.
        mixture: sizes and weights of the corpora; None weights all utterances equally.
        max_bad_share: maximum share of unreadable audio files.
        apply: augment here; False leaves that to the device (`sdpn.data.crops.DrawnCropBatch`).

    Attributes:
        bad_files: bad files reported by all loader processes of this process.
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
        max_bad_share: float = 0.01,
        apply: bool = True,
    ) -> None:
        self._applies = apply
        self.mixture = mixture or Mixture((len(utterances),))
        table = utterances if isinstance(utterances, UtteranceTable) else UtteranceTable(utterances)
        self._utterances = table
        self._crops = crops
        self._augmenter = augmenter
        self._seed = seed
        self._speech = Recordings(table, cache_mb=cache_mb, channel=crops.channel)
        num_files = table.num_files
        self.bad_files = BadFiles(num_files, max_bad_share)
        self._met = BadFiles(
            num_files, max_bad_share
        )  # in this process, to bound the search for a substitute
        self._faults: list[Fault] = []
        self._warned: set[int] = set()

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self._utterances)

    def __getitem__(self, item: Item) -> Views:
        """Crops of one utterance, float32.

        Raises:
            InputError: too many files cannot be read, or there is no speech at all.
        """
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[Item]) -> list[Views]:
        """Crops of the utterances of a batch, as by `__getitem__` but faster; called by torch's loader.

        Substitutes are not in the batch, as long as there are other utterances.

        Raises:
            InputError: as for `__getitem__`.
        """
        views: list[Views] = []
        present = {index for _, index in items}
        local_samples = self._crops.draw_local_samples(self._rng(*items[0], 0, _LENGTH))
        for first in range(0, len(items), _TOGETHER):
            views += self._views(items[first : first + _TOGETHER], present, local_samples)
        return views

    @staticmethod
    def collate(items: Sequence[Views]) -> tuple[CropBatch | DrawnCropBatch, list[Fault]]:
        """Stack views to (G, B, S) and (V, B, S'), as objectives expect; returns them with the bad files."""
        erasure_VB4 = np.stack([one.erasure_V4 for one in items], axis=1)
        batch = CropBatch(
            torch.from_numpy(np.stack([one.global_GS for one in items], axis=1)),
            torch.from_numpy(np.stack([one.local_VS for one in items], axis=1)),
            torch.tensor([one.utterance for one in items]),
            torch.from_numpy(erasure_VB4) if erasure_VB4.any() else None,
            torch.tensor([one.speed for one in items], dtype=torch.float32),
        )
        faults = [fault for one in items for fault in one.faults]
        if not items[0].drawn:
            return batch, faults
        by_view = [drawn for view in zip(*(one.drawn for one in items), strict=True) for drawn in view]
        return DrawnCropBatch(batch, as_tensors(by_view)), faults

    def _views(self, items: Sequence[Item], present: set[int], local_samples: int) -> list[Views]:
        cuts = [self._cut(epoch, index, present, local_samples) for epoch, index in items]
        if not self._applies:
            return [
                Views(
                    *(_stacked(cut.clean), np.stack(cut.local), cut.utterance, cut.speed, cut.erasure_V4),
                    cut.faults,
                    tuple(cut.drawn),
                )
                for cut in cuts
            ]
        local = self._augmenter.apply(
            [piece for cut in cuts for piece in cut.local], [effects for cut in cuts for effects in cut.drawn]
        )
        return [
            Views(_stacked(cut.clean), local_VS, cut.utterance, cut.speed, cut.erasure_V4, cut.faults)
            for cut, local_VS in zip(cuts, np.split(local, len(cuts)), strict=True)
        ]

    def _cut(self, epoch: int, index: int, present: set[int], local_samples: int) -> _Unaugmented:
        """Crops of an utterance, or of its substitute, which is then added to ``present``."""
        self._faults = []
        cut = self._attempt(epoch, index, local_samples)
        if cut is None:
            for other in self._substitutes(epoch, index, present):
                cut = self._attempt(epoch, other, local_samples, substitutes_for=index)
                if cut is not None:
                    present.add(other)
                    break
            else:
                raise InputError("every utterance of the training data is digitally silent or cannot be read")
        return cut._replace(faults=tuple(self._faults))

    def _substitutes(self, epoch: int, index: int, present: set[int]) -> Iterator[int]:
        """All other utterances from a random index on; those of the batch last."""
        start = int(self._rng(epoch, index, 0, _STAND_IN).integers(len(self)))
        for again in (False, True):
            for offset in range(len(self)):
                other = (start + offset) % len(self)
                if other != index and (other in present) is again:
                    yield other

    def _attempt(
        self, epoch: int, index: int, local_samples: int, *, substitutes_for: int | None = None
    ) -> _Unaugmented | None:
        try:
            return self._crops_of(epoch, index, local_samples, substitutes_for)
        except TooManyBadFiles:
            raise
        except InputError as error:
            self._record_fault(error, index)
            return None

    def _record_fault(self, error: InputError, index: int) -> None:
        """Record an unreadable file: of the utterance, or of noise to add to it."""
        fault = Fault(error.path or str(self._utterances[index].path), str(error))
        self._faults.append(fault)
        self._met.add([fault])

    def _crops_of(
        self, epoch: int, index: int, local_samples: int, substitutes_for: int | None
    ) -> _Unaugmented | None:
        crops, augmenter = self._crops, self._augmenter
        draw = partial(self._rng, epoch, index, substitutes_for=substitutes_for)
        changes_speed = augmenter.config.speed_probability > 0
        shared = (
            augmenter.config.speed_speaker == "new"
        )  # another speed counts as another speaker, for all crops
        speed = Fraction(1)
        if changes_speed and shared:
            speed = augmenter.draw_speed(draw(0, _SPEED))
        voice_speed = float(speed)
        erases = augmenter.config.erase_probability > 0
        pieces: list[np.ndarray] = []
        drawn: list[Drawn] = []
        erasure_V4 = np.zeros((crops.num_local, 4), dtype=np.int32)
        for view in range(crops.num_global + crops.num_local):
            rng = draw(view)
            local = view - crops.num_global
            if local >= 0 and changes_speed and not shared:
                speed = augmenter.draw_speed(rng)
            num_samples = crops.global_samples if local < 0 else local_samples
            piece = self._crop(index, num_samples, speed, rng)
            if piece is None:
                if index not in self._warned:
                    self._warned.add(index)
                    _log.warning("%s is digitally silent: skipped", self._utterances[index].path)
                return None
            pieces.append(piece)
            if local >= 0:
                drawn.append(augmenter.draw(num_samples, rng, self._draw_speech))
                if erases:
                    erasure_V4[local] = augmenter.draw_erasure(draw(view, _ERASURE))
        clean, augmented = pieces[: crops.num_global], pieces[crops.num_global :]
        return _Unaugmented(clean, augmented, drawn, index, voice_speed, erasure_V4)

    def _rng(
        self, epoch: int, index: int, view: int, purpose: int = 0, *, substitutes_for: int | None = None
    ) -> np.random.Generator:
        """The random generator of a view. Each purpose has its own, so that none affects another.

        Substitutes have their own, too, since they may also be in the batch themselves.
        """
        key: tuple[int, ...] = (self._seed, epoch, index, view)
        if substitutes_for is not None:
            key += (purpose, substitutes_for + 1)
        elif purpose:
            key += (purpose,)
        # an array of 32-bit numbers seeds the same generator as the tuple in two thirds of the time
        return np.random.default_rng(key if max(key) >> 32 else np.array(key, dtype=np.uint32))

    def _crop(
        self, index: int, num_samples: int, speed: Fraction, rng: np.random.Generator
    ) -> np.ndarray | None:
        """A crop of an utterance at a speed, or None if it is silent."""
        taken = samples_needed(num_samples, speed)
        piece = crop_range(partial(self._speech.read, index), self._speech.length(index), taken, rng)
        return None if piece is None else change_speed(piece, speed, num_samples)

    def _draw_speech(self, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        index = int(rng.integers(len(self)))
        try:
            piece = self._crop(index, num_samples, Fraction(1), rng)
        except InputError as error:
            self._record_fault(error, index)
            piece = None
        return np.zeros(num_samples, dtype=np.float32) if piece is None else piece


def load_batches(
    dataset: TrainingSet,
    *,
    batch_size: int,
    seed: int,
    start_step: int,
    end_step: int,
    workers: int,
    share: tuple[int, int] = (0, 1),
    pin: bool = False,
) -> Iterator[Any]:
    """Yield the batch of each step from ``start_step`` to ``end_step``, or a process's share of it.

    With ``pin``, in page-locked memory, from which a GPU copies while the host goes on.

    Raises:
        InputError: too many files cannot be read, or there is no speech at all.
    """
    loader: DataLoader[Any] = DataLoader(
        _ErrorsAsItems(dataset),
        batch_sampler=StepSampler(
            dataset.mixture, batch_size, seed=seed, start_step=start_step, end_step=end_step, share=share
        ),
        num_workers=workers,
        collate_fn=partial(_collate, dataset=dataset),
        prefetch_factor=4 if workers else None,
        worker_init_fn=_init_worker,
        pin_memory=pin,
        # its own generator, since creating an iterator draws from it: the run's random state must not change
        generator=torch.Generator().manual_seed(seed),
    )
    with inherited_without_signals():
        deliveries = iter(loader)
    for delivered in deliveries:
        if isinstance(delivered, InputError):
            raise delivered
        batch, faults = delivered
        dataset.bad_files.add(faults, log=True)
        yield batch


class _ErrorsAsItems(Dataset[Any]):
    """Returns an `InputError` as an item: raised in a loader process, it would become a traceback."""

    def __init__(self, dataset: TrainingSet) -> None:
        self._dataset = dataset

    def __getitems__(self, items: Sequence[Item]) -> Sequence[Any]:
        try:
            return self._dataset.__getitems__(items)
        except InputError as error:
            return [error]


def _collate(items: Sequence[Any], *, dataset: TrainingSet) -> tuple[Any, list[Fault]] | InputError:
    """The batch of items, or the error that took the place of one."""
    for item in items:
        if isinstance(item, InputError):
            return item
    return dataset.collate(items)


def _stacked(crops: Sequence[np.ndarray]) -> np.ndarray:
    """Stack G crops to (G, S); (0, 0) without crops."""
    return np.stack(crops) if crops else np.zeros((0, 0), dtype=np.float32)


def _init_worker(_worker: int) -> None:
    obeys_its_parent()
    torch.set_num_threads(1)  # leave the cores to the network
    keep_freed_memory(KEPT_MB)
