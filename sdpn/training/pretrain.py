"""A whole SDPN run: from data directories and a configuration to an exported model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from sdpn import __version__
from sdpn.config import to_dict
from sdpn.data.augment import Augmenter
from sdpn.data.dataset import CropDataset
from sdpn.distill.network import SDPN
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.kaldi import Utterance, read_data_dir
from sdpn.models.embedder import Embedder
from sdpn.models.folder import ModelFolder, save_model
from sdpn.tracking.board import Board
from sdpn.training.calibrate import calibrate
from sdpn.training.checkpoint import CheckpointStore, lock
from sdpn.training.config import RunConfig
from sdpn.training.loop import Progress, Trainer

#: Settings that may change between a run and its continuation: they do not change what is computed.
_FREE = ("workers", "cache_mb", "log_every", "checkpoint_every", "keep_checkpoints")


def read_training_data(directories: Sequence[Path]) -> list[Utterance]:
    """Utterances of several data directories; speakers are dropped, training must not see them.

    Raises:
        InputError: a directory is not valid, or an utterance id occurs in two of them.
    """
    utterances: dict[str, Utterance] = {}
    for directory in directories:
        for utterance in read_data_dir(directory):
            if utterance.id in utterances:
                raise InputError(
                    f"utterance {utterance.id!r} is also in another --data directory",
                    path=directory,
                    hint="make ids unique, for example with the corpus as prefix",
                )
            utterances[utterance.id] = replace(utterance, speaker=None)
    return list(utterances.values())


def pretrain(
    config: RunConfig,
    directories: Sequence[Path],
    out: Path,
    *,
    on_progress: Callable[[Progress], None],
) -> dict[str, Any]:
    """Train (or continue) an SDPN and export its teacher to ``out/model``.

    Args:
        config: the whole configuration.
        directories: Kaldi data directories of the training speech.
        out: experiment folder; ``checkpoints/``, ``tensorboard/``, ``config.yaml`` and ``model/`` go there.
        on_progress: called at every point of the training curves.

    Returns:
        plain figures of the run.

    Raises:
        InputError: bad data or settings, a checkpoint of another run, or a loss that is not finite.
        sdpn.training.loop.Stopped: a signal asked the run to stop; its state is saved.
    """
    utterances = read_training_data(directories)
    _held = lock(out)
    torch.manual_seed(config.training.seed)
    network = SDPN(config.sdpn, encoder=config.encoder, head=config.head, features=config.features)
    configuration = to_dict(config)
    text = yaml.safe_dump(_plain(configuration), sort_keys=False)
    atomic_write_text(out / "config.yaml", text)
    dataset = CropDataset(
        utterances,
        config.crops,
        Augmenter(config.augmentation),
        seed=config.training.seed,
        cache_mb=config.training.cache_mb,
    )

    def make_board(start_step: int) -> Board:
        board = Board(out / "tensorboard", start_step=start_step)
        if start_step == 0:
            board.text(
                "configuration", f"```yaml\n{yaml.safe_dump(_plain(configuration), sort_keys=False)}```"
            )
        return board

    trainer = Trainer(
        config,
        network,
        dataset,
        store=CheckpointStore(
            out / "checkpoints", _identity(configuration, utterances), keep=config.training.keep_checkpoints
        ),
        make_board=make_board,
        on_progress=on_progress,
    )
    trainer.run()
    model = ModelFolder(
        network.teacher.encoder.eval(),
        config.encoder,
        config.features,
        source={
            "objective": "sdpn",
            "sdpn_version": __version__,
            "steps": config.training.steps,
            "seed": config.training.seed,
            "num_utterances": len(utterances),
        },
    )
    calibration = calibrate(Embedder(model), utterances, seed=config.training.seed)
    save_model(
        out / "model",
        replace(model, calibration=calibration),
        head=network.teacher.head,
        prototypes=network.prototypes,
    )
    return {
        "model": str(out / "model"),
        "steps": config.training.steps,
        "num_utterances": len(utterances),
        "encoder_parameters": sum(tensor.numel() for tensor in network.teacher.encoder.parameters()),
    }


def _identity(configuration: dict[str, Any], utterances: Sequence[Utterance]) -> dict[str, Any]:
    """What must be equal for a checkpoint to be continued: settings and data."""
    ids = "\n".join(f"{utterance.id} {utterance.start_s} {utterance.end_s}" for utterance in utterances)
    training = {key: value for key, value in configuration["training"].items() if key not in _FREE}
    return {**configuration, "training": training, "data": hashlib.sha256(ids.encode()).hexdigest()[:16]}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Values that YAML can hold: paths become text."""
    return {
        key: _plain(value) if isinstance(value, dict) else str(value) if isinstance(value, Path) else value
        for key, value in values.items()
    }
