"""What a run trains on: the utterances of its data directories, and the set that batches are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from sdpn.augmentation.augment import PRESETS, Augmenter
from sdpn.data.dataset import CropDataset, TrainingSet
from sdpn.data.mel_folder import MelFolder, MelReader, MelSegments, is_mel_folder, read_mel_folder
from sdpn.data.sampler import Mixture
from sdpn.data.utterance_table import UtteranceTable, read_utterances
from sdpn.errors import InputError
from sdpn.training.config import RunConfig
from sdpn.training.segmentation_data import SegmentationData


def read_training_data(
    directories: Sequence[Path], weights: tuple[float, ...] = (), *, check_files: bool = True
) -> tuple[UtteranceTable, Mixture]:
    """Read the utterances of several data directories without their speakers, which training must not see.

    Args:
        directories: Kaldi data directories.
        weights: relative weight of each, as ``training.corpus_weights``.
        check_files: also require that every audio file exists.

    Returns:
        the utterances, directory by directory, and their mixture.

    Raises:
        InputError: a directory is not valid, an utterance id occurs in two of them, or the number of
            weights differs from that of directories.
    """
    utterances, sizes = read_utterances(directories, check_files=check_files)
    return utterances, Mixture(tuple(sizes), weights)


def mel_folder(config: RunConfig, directories: Sequence[Path], reader: MelReader | None) -> MelFolder | None:
    """The data as a folder of mel features, if that is what it is.

    Raises:
        InputError: the settings do not fit such a folder, or it cannot be read.
    """
    folder = next((directory for directory in directories if is_mel_folder(directory)), None)
    if folder is None:
        return None
    if config.objective != "supervised" or len(directories) > 1:
        raise InputError(
            "is a folder of mel features, which only objective=supervised takes, and only one",
            path=folder,
        )
    if config.augmentation != PRESETS["none"]:
        raise InputError(
            "holds features instead of samples, which cannot be augmented",
            path=folder,
            hint="set augmentation.preset=none",
        )
    if config.initial.prototypes in ("classes", "kmeans") or config.training.explain_every:
        raise InputError(
            "holds features instead of samples: initial.prototypes must be uniform or keep, and "
            "training.explain_every 0",
            path=folder,
        )
    mels = read_mel_folder(folder) if reader is None else reader.folder
    if mels.num_mels != config.features.num_mels:
        raise InputError(
            f"has features of {mels.num_mels} mel bands; the run is of {config.features.num_mels}",
            path=mels.source,
            hint=f"set features.num_mels={mels.num_mels}"
            if config.initial.model is None
            else "those of the model, which it was trained on, cannot be changed",
        )
    return mels


def training_set(
    config: RunConfig,
    utterances: UtteranceTable,
    mixture: Mixture,
    simulated: SegmentationData | None,
    mel_reader: MelReader | None,
    device: torch.device,
) -> TrainingSet:
    """What the batches are drawn from."""
    training, crops = config.training, config.crops
    if simulated is not None:
        return simulated.windows
    if mel_reader is not None:
        return MelSegments(
            mel_reader,
            utterances,
            mixture,
            num_frames=round(1000 * crops.local_s / config.features.hop_ms),
            views=crops.num_local,
            seed=training.seed,
        )
    return CropDataset(
        utterances,
        crops,
        Augmenter(config.augmentation),
        seed=training.seed,
        cache_mb=training.cache_mb,
        mixture=mixture,
        max_bad_share=training.max_bad_share,
        apply=training.augment == "loader"
        or (
            training.augment == "auto" and (device.type == "cpu" or config.augmentation.codec_probability > 0)
        ),
    )


def long_crops(
    config: RunConfig,
    dataset: TrainingSet,
    utterances: UtteranceTable,
    mixture: Mixture,
    device: torch.device,
) -> tuple[int, TrainingSet] | None:
    """The step from which on crops are long, and their data set; it shares what is known of bad files."""
    settings = config.supervised
    if config.objective != "supervised" or not settings.long_start_step:
        return None
    if not isinstance(dataset, CropDataset):
        raise InputError("supervised.long_start_step needs audio, not features", hint="leave it at 0")
    crops = replace(config.crops, local_s=settings.long_s, longest_local_s=None)
    late = training_set(replace(config, crops=crops), utterances, mixture, None, None, device)
    late.bad_files = dataset.bad_files
    return settings.long_start_step, late
