"""A whole run: from data directories and a configuration to an exported model."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from sdpn.augmentation.augment import Augmenter
from sdpn.config import to_dict
from sdpn.data.dataset import CropDataset
from sdpn.data.sampler import Mixture
from sdpn.data.utterance_table import UtteranceTable
from sdpn.distill.base import SelfDistillation
from sdpn.distill.labels import Labels, read_labels
from sdpn.distill.targets import Targets
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.kaldi import Utterance, iterate_data_dir
from sdpn.io.packed import DistinctKeys
from sdpn.models.embedder import Embedder
from sdpn.models.encoder import Encoder
from sdpn.models.folder import ModelFolder, save_model
from sdpn.models.pretraining import Pretraining
from sdpn.tracking.board import Board
from sdpn.training.build import build
from sdpn.training.calibrate import calibrate
from sdpn.training.checkpoint import CheckpointStore, lock
from sdpn.training.config import RunConfig
from sdpn.training.dashboard import Dashboard
from sdpn.training.distributed import Processes, joined
from sdpn.training.evaluation import Evaluation
from sdpn.training.failures import failures_explained
from sdpn.training.initial import initialise
from sdpn.training.loop import Trainer, TrainingProgress
from sdpn.training.teacher_embeddings import Corpus, listen, speeds_of

_log = logging.getLogger(__name__)

#: Settings that may change when a run is resumed, because they do not affect the result.
_FREE = (
    "workers",
    "cache_mb",
    "max_bad_share",
    "log_every",
    "checkpoint_every",
    "checkpoint_minutes",
    "keep_checkpoints",
    "keep_every",
    "projector_every",
    "timeout_minutes",
)

#: The same of the section ``distill``.
_WHEREABOUTS = ("teacher", "teacher_format", "teacher_precision", "cache")


def read_training_data(
    directories: Sequence[Path], weights: tuple[float, ...] = (), *, check_files: bool = True
) -> tuple[UtteranceTable, Mixture]:
    """Utterances of several data directories; speakers are dropped, training must not see them.

    Args:
        directories: Kaldi data directories.
        weights: relative weight of each, as ``training.corpus_weights``.
        check_files: also require that every audio file exists.

    Returns:
        the utterances, one directory after the other, and how to mix them.

    Raises:
        InputError: a directory is not valid, an utterance id occurs in two of them, or the weights are not
            those of so many directories.
    """
    utterances = UtteranceTable()
    sizes = []
    for directory in directories:
        before = len(utterances)
        utterances.extend(iterate_data_dir(directory, check_files=check_files, speakers=False))
        sizes.append(len(utterances) - before)
    if len(directories) > 1:
        _refuse_shared_ids(utterances, directories, sizes)
    return utterances, Mixture(tuple(sizes), weights)


def _refuse_shared_ids(utterances: UtteranceTable, directories: Sequence[Path], sizes: Sequence[int]) -> None:
    known = DistinctKeys()
    for directory, (first, last) in zip(directories, pairwise(accumulate(sizes, initial=0)), strict=True):
        ids = utterances.ids[first:last]
        again = known.add(ids)
        if again is not None:
            raise InputError(
                f"utterance {ids[again]!r} is also in another --data directory",
                path=directory,
                hint="make ids unique, for example with the corpus as prefix",
            )


def pretrain(
    config: RunConfig,
    directories: Sequence[Path],
    out: Path,
    *,
    on_progress: Callable[[TrainingProgress], None] = lambda _progress: None,
    on_listening: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
) -> dict[str, Any]:
    """Train (or resume) a network without labels and export its teacher to ``out/model``.

    Started by torchrun, every process calls it; the first one writes.

    Args:
        config: the whole configuration.
        directories: Kaldi data directories of the training speech.
        out: experiment folder; ``checkpoints/``, ``tensorboard/``, ``config.yaml`` and ``model/`` go there.
        on_progress: called at every point of the training curves, in the first process.
        on_listening: called while the embeddings of a foreign teacher are computed, with (stage, done,
            total).

    Returns:
        plain figures of the run.

    Raises:
        InputError: bad data or settings, a checkpoint of another run, a guard that stopped the run, memory
            that ran out, or a loader process that was killed.
        sdpn.training.loop.Stopped: the run was stopped by a signal; its state is saved.
    """
    training = config.training
    with failures_explained(training), joined(training.device, training.timeout_minutes) as processes:
        _check_shares(config, processes)
        if config.objective == "distill":  # the teacher has heard all of it before
            config = replace(config, crops=replace(config.crops, num_global=0))
        # a run that has begun goes on without files that have gone since
        begun = any((out / "checkpoints").glob("step-*"))
        utterances, mixture = read_training_data(
            directories, config.training.corpus_weights, check_files=not begun
        )
        labels = _labels(config, utterances)
        targets = _targets(config, directories, utterances, mixture, out, processes, on_listening)
        evaluation = None
        if config.evaluation.data is not None:
            evaluation = Evaluation(
                config.evaluation,
                encoder=config.encoder,
                features=config.features,
                processes=processes,
            )
        _held = lock(out) if processes.first else None
        configuration = to_dict(config)
        text = yaml.safe_dump(_plain(configuration), sort_keys=False)
        store = CheckpointStore(
            out / "checkpoints",
            _identity(configuration, utterances, mixture, labels, targets),
            defaults=to_dict(RunConfig()),
            keep=config.training.keep_checkpoints,
            keep_every=config.training.keep_every,
            world=processes.world,
        )
        torch.manual_seed(config.training.seed)
        network = build(config, labels, targets).to(processes.device)
        if targets is not None and processes.first:
            _compare_sizes(network, targets)
        if not processes.first:  # the same weights, but other units to drop
            torch.manual_seed(config.training.seed + 1_000_003 * processes.rank)
        if store.is_empty():
            initialise(
                network,
                config.initial,
                encoder=config.encoder,
                crops=config.crops,
                utterances=utterances,
                seed=config.training.seed,
                labels=labels,
            )
        dataset = CropDataset(
            utterances,
            config.crops,
            Augmenter(config.augmentation),
            seed=config.training.seed,
            cache_mb=config.training.cache_mb,
            mixture=mixture,
            max_bad_share=config.training.max_bad_share,
        )

        def make_dashboard(start_step: int, initial_KE: Tensor) -> Dashboard:
            atomic_write_text(out / "config.yaml", text)
            board = Board(out / "tensorboard", start_step=start_step)
            dashboard = Dashboard(
                config,
                network,
                board,
                initial_KE=initial_KE,
                utterances=utterances,
                evaluation=evaluation,
            )
            if start_step == 0:
                dashboard.introduce(text)
            return dashboard

        Trainer(
            config,
            network,
            dataset,
            processes=processes,
            store=store,
            make_dashboard=make_dashboard,
            evaluation=evaluation,
            on_progress=on_progress,
        ).run()
        if processes.first:
            atomic_write_text(out / "config.yaml", text)
            _export(
                config,
                network,
                utterances,
                targets,
                out / "model",
                device=processes.device,
                versions=store.versions,
            )
    return {
        "model": str(out / "model"),
        "bad_files": dataset.bad_files.problems,
        "steps": config.training.steps,
        "num_utterances": len(utterances),
        "encoder_parameters": sum(tensor.numel() for tensor in network.teacher.encoder.parameters()),
    }


def _check_shares(config: RunConfig, processes: Processes) -> None:
    """Check that every part of a batch in every process has at least two utterances."""
    parts = processes.world * config.training.accumulate
    if config.training.batch_size % parts or config.training.batch_size < 2 * parts:
        raise InputError(
            f"training.batch_size ({config.training.batch_size}) cannot be split over {processes.world} "
            f"processes in {config.training.accumulate} parts of at least 2 utterances each",
            hint=f"use a multiple of {parts}",
        )


def _compare_sizes(student: SelfDistillation, targets: Targets) -> None:
    """Warn if a student is larger than its teacher, which costs more without a benefit."""
    own = sum(tensor.numel() for tensor in student.student.encoder.parameters())
    if targets.teacher_parameters is not None and own > targets.teacher_parameters:
        _log.warning(
            "the student has %s parameters, more than the %s of its teacher",
            f"{own:,}",
            f"{targets.teacher_parameters:,}",
        )


def _taught_by(config: RunConfig, targets: Targets | None) -> dict[str, str]:
    """File and fingerprint of the foreign teacher, for people."""
    if targets is None or config.distill.teacher is None:
        return {}
    return {"teacher": f"{config.distill.teacher.name} {targets.teacher}"}


def _export(
    config: RunConfig,
    network: SelfDistillation,
    utterances: Sequence[Utterance],
    targets: Targets | None,
    path: Path,
    *,
    device: torch.device,
    versions: dict[str, str],
) -> None:
    """Write the teacher as a model folder, with what clustering needs to know about it and who trained it."""
    teacher = network.teacher.eval()
    assert isinstance(teacher.encoder, Encoder)
    model = ModelFolder(
        teacher.encoder,
        config.encoder,
        config.features,
        source={
            "objective": config.objective,
            "steps": config.training.steps,
            "seed": config.training.seed,
            "num_utterances": len(utterances),
            **_taught_by(config, targets),
            **versions,
        },
    )
    calibration = calibrate(
        Embedder(model, device=str(device)),
        utterances,
        seed=config.training.seed,
        channel=config.crops.channel,
    )
    teacher.to("cpu")
    save_model(
        path,
        replace(model, calibration=calibration),
        pretraining=Pretraining(teacher.head.state_dict(), network.prototypes),
    )


def _labels(config: RunConfig, utterances: Sequence[Utterance]) -> Labels | None:
    """The labels of ``pseudo.labels``, if the objective uses them."""
    path = config.pseudo.labels
    if config.objective != "pseudo":
        if path is not None:
            raise InputError(f"pseudo.labels is not used by objective={config.objective}", hint="remove it")
        return None
    if path is None:
        raise InputError(
            "objective=pseudo needs pseudo-labels",
            hint="give --labels FILE with a line 'utterance cluster' for every utterance "
            "(docs/pseudo_labels.md)",
        )
    augmentation = config.augmentation
    if augmentation.speed_probability and augmentation.speed_speaker == "new":
        raise InputError(
            "augmentation.speed_speaker=new creates speakers without a pseudo-label",
            hint="with objective=pseudo set augmentation.speed_speaker=same, or speed_probability=0",
        )
    return read_labels(path, utterances)


def _targets(
    config: RunConfig,
    directories: Sequence[Path],
    utterances: Sequence[Utterance],
    mixture: Mixture,
    out: Path,
    processes: Processes,
    on_listening: Callable[[str, int, int], None],
) -> Targets | None:
    """The embeddings of ``distill.teacher``, if the objective uses them."""
    if config.objective != "distill":
        if config.distill.teacher is not None:
            raise InputError(f"distill.teacher is not used by objective={config.objective}", hint="remove it")
        return None
    ends = list(accumulate(mixture.sizes, initial=0))
    corpora = [
        Corpus(directory, utterances[first:last])
        for directory, (first, last) in zip(directories, pairwise(ends), strict=True)
    ]
    return listen(
        config.distill,
        corpora,
        speeds_of(config.augmentation),
        config.distill.cache or out / "teacher",
        processes=processes,
        max_missing_share=config.training.max_bad_share,
        on_progress=on_listening if processes.first else lambda _what, _done, _total: None,
    )


def _identity(
    configuration: dict[str, Any],
    utterances: UtteranceTable,
    mixture: Mixture,
    labels: Labels | None,
    targets: Targets | None,
) -> dict[str, Any]:
    """What must be equal for a checkpoint to be continued: settings and data."""
    ids = hashlib.sha256()
    channels: list[int | None] = []
    for number, (key, start_s, end_s, channel) in enumerate(utterances.stretches()):
        line = f"{key} {start_s} {end_s}"
        ids.update((f"\n{line}" if number else line).encode())
        if channel is not None or channels:
            channels.append(channel)
    if channels:
        ids.update(f"\n{[None] * (len(utterances) - len(channels)) + channels}".encode())
    if mixture.weights:  # else it does not matter where a corpus ends
        ids.update(f"\n{mixture.sizes}".encode())
    if labels is not None:
        ids.update(f"\n{labels.label_N.tolist()}".encode())
    training = {key: value for key, value in configuration["training"].items() if key not in _FREE}
    watched = {key: value for key, value in configuration.items() if key != "evaluation"}
    if targets is not None:  # what the teacher says counts, not where it and its words are kept
        objective = {key: value for key, value in watched["distill"].items() if key not in _WHEREABOUTS}
        watched["distill"] = {**objective, "targets": targets.digest}
    return {**watched, "training": training, "data": ids.hexdigest()[:16]}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Values that YAML can hold: paths become text."""
    return {
        key: _plain(value) if isinstance(value, dict) else str(value) if isinstance(value, Path) else value
        for key, value in values.items()
    }
