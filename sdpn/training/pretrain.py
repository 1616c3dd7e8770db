"""A complete training run: from data directories and a configuration to an exported model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from sdpn.config import to_dict
from sdpn.data.mel_folder import MelFolder, MelReader
from sdpn.data.sampler import InOrder, Mixture
from sdpn.data.utterance_table import UtteranceTable
from sdpn.distill.base import SelfDistillation
from sdpn.distill.segmentation import Segmentation
from sdpn.distill.supervised import Supervised
from sdpn.distill.targets import Targets
from sdpn.errors import InputError
from sdpn.interop.segmentation import load_segmentation
from sdpn.io.atomic import atomic_write_text
from sdpn.io.kaldi import Utterance
from sdpn.progress import Report, unreported
from sdpn.tracking.board import Board
from sdpn.training.best import Best
from sdpn.training.build import build
from sdpn.training.checkpoint import CheckpointStore, lock_run
from sdpn.training.classification import ACCURACY, Classification, EmbeddedMels
from sdpn.training.config import WITHOUT_TEACHER, RunConfig
from sdpn.training.dashboard import Dashboard
from sdpn.training.data import long_crops, mel_folder, read_training_data, training_set
from sdpn.training.distributed import Processes, process_group
from sdpn.training.evaluation import EER, EmbeddedUtterances, Evaluates, Evaluation
from sdpn.training.export import (
    export_adapters,
    export_model,
    exported,
    trained_parameters,
    warn_if_larger_than_teacher,
)
from sdpn.training.failures import failures_explained
from sdpn.training.identity import run_identity
from sdpn.training.initialisation import initialise
from sdpn.training.labelled import Labelled
from sdpn.training.loop import Trainer, TrainingProgress
from sdpn.training.run_labels import classes_of_run, pseudo_labels_of_run, with_unlabelled
from sdpn.training.segmentation_data import SegmentationData, segmentation_data
from sdpn.training.start import blend_with_start, start_identity
from sdpn.training.teacher_embeddings import Corpus, teacher_embeddings


def pretrain(
    config: RunConfig,
    directories: Sequence[Path],
    out: Path,
    *,
    unlabelled: Sequence[Path] = (),
    names: Sequence[str] = (),
    on_progress: Callable[[TrainingProgress], None] = lambda _progress: None,
    on_work: Report = unreported,
    mel_reader: MelReader | None = None,
) -> dict[str, Any]:
    """Train (or resume) a network and export its teacher to ``out/model``.

    No objective sees who speaks but ``supervised``, and ``segmentation``, whose conversations need different
    speakers.

    Under torchrun, every process calls this; rank 0 writes.

    Args:
        config: the whole configuration.
        directories: Kaldi data directories of the training speech.
        out: experiment folder for ``checkpoints/``, ``tensorboard/``, ``config.yaml`` and ``model/``.
        unlabelled: with ``supervised``, further data directories, whose speakers are not read: SDPN's
            objective on them is part of every step.
        names: with ``supervised``, the classes in the order of their numbers; empty numbers them by name.
        on_progress: called at every point of the training curves, on rank 0.
        on_work: called with (stage, done, total) before the first step: while a distillation teacher embeds
            the data, their speech is found for simulation, or initial prototypes are made.
        mel_reader: reads the mel features of ``directories``, and keeps what an earlier run has read; its
            folder, which may be a part of theirs, is what is trained on. None reads them anew.

    Returns:
        summary of the run as plain values.

    Raises:
        InputError: invalid data or settings, a checkpoint of another run, a guard stopped the run, memory ran
            out, or a loader process was killed.
        sdpn.training.loop.Stopped: the run was stopped by a signal; its state is saved.
    """
    training = config.training
    with (
        failures_explained(training),
        process_group(
            training.device,
            timeout_minutes=training.timeout_minutes,
            rendezvous_minutes=training.rendezvous_minutes,
        ) as processes,
    ):
        _check_shares(config, processes)
        if config.objective in WITHOUT_TEACHER and not unlabelled:
            config = replace(config, crops=replace(config.crops, num_global=0))
        # a resumed run tolerates files removed since its start
        begun = any((out / "checkpoints").glob("step-*"))
        mels = mel_folder(config, directories, mel_reader)
        utterances, mixture = (
            read_training_data(directories, config.training.corpus_weights, check_files=not begun)
            if mels is None
            else (UtteranceTable(mels.utterances), Mixture((len(mels.utterances),)))
        )
        labelled = classes_of_run(config, directories, utterances, mixture, mels, names)
        if labelled is not None and unlabelled:
            labelled = with_unlabelled(config, labelled, directories, unlabelled, check_files=not begun)
        if labelled is not None:
            utterances, mixture = labelled.utterances, labelled.mixture
        if training.shuffle_buffer:
            if mixture.label_N is not None:
                raise InputError(
                    "training.shuffle_buffer reads in order, supervised.balanced draws by class: set one"
                )
            in_order = InOrder(training.shuffle_buffer, utterances.shard_starts())
            mixture = replace(mixture, in_order=in_order)
        labels = pseudo_labels_of_run(config, utterances) if labelled is None else labelled.labels
        targets = _targets(config, directories, utterances, mixture, out, processes, on_work)
        _held = lock_run(out) if processes.first else None
        simulated = None
        if config.objective == "segmentation":
            simulated = segmentation_data(
                config, directories, utterances, mixture.sizes, out, processes, on_work
            )
        evaluation = _evaluation(config, simulated, labelled, mels, processes)
        best = None
        if isinstance(evaluation, Classification):
            best = Best(ACCURACY, config.supervised.patience)
        elif isinstance(evaluation, Evaluation) and config.evaluation.choose:
            best = Best(EER, config.supervised.patience, lowest=True)
        configuration = to_dict(config)
        text = yaml.safe_dump(_plain(configuration), sort_keys=False)
        store = CheckpointStore(
            out / "checkpoints",
            run_identity(configuration, utterances, mixture, labels, targets, simulated)
            | start_identity(config, out),
            defaults=to_dict(RunConfig()),
            keep=config.training.keep_checkpoints,
            keep_every=config.training.keep_every,
            world=processes.world,
        )
        torch.manual_seed(config.training.seed)
        network = build(config, labels, targets, given_features=mels is not None).to(processes.device)
        if targets is not None and processes.first:
            warn_if_larger_than_teacher(network, targets)
        if not processes.first:  # equal weights, but different dropout
            torch.manual_seed(config.training.seed + 1_000_003 * processes.rank)
        if store.is_empty() and isinstance(network, Segmentation) and config.initial.model is not None:
            network.start_from(load_segmentation(config.initial.model).network)
        if store.is_empty() and isinstance(network, SelfDistillation):
            initialise(
                network,
                config.initial,
                encoder=config.encoder,
                crops=config.crops,
                utterances=utterances,
                seed=config.training.seed,
                labels=labels,
                on_progress=on_work if processes.first else unreported,
            )
        if mels is not None and mel_reader is None:
            mel_reader = MelReader(mels, cache_mb=training.cache_mb)
        dataset = training_set(config, utterances, mixture, simulated, mel_reader, processes.device)

        def make_dashboard(start_step: int, initial_KE: Tensor) -> Dashboard:
            atomic_write_text(out / "config.yaml", text)
            board = Board(out / "tensorboard", start_step=start_step)
            dashboard = Dashboard(
                config,
                network,
                board,
                initial_KE=initial_KE,
                utterances=utterances if mels is None else (),  # whose audio it could show
                evaluation=evaluation,
            )
            if start_step == 0:
                dashboard.write_configuration(text)
            return dashboard

        trainer = Trainer(
            config,
            network,
            dataset,
            late=long_crops(config, dataset, utterances, mixture, processes.device),
            processes=processes,
            store=store,
            make_dashboard=make_dashboard,
            evaluation=evaluation,
            best=best,
            on_progress=on_progress,
        )
        trainer.run()
        if processes.first:
            atomic_write_text(out / "config.yaml", text)
            export = partial(
                export_model,
                config,
                network,
                utterances,
                targets,
                device=processes.device,
                versions=store.versions,
                calibrate=mels is None,
            )
            blend_with_start(config, network)
            if best is not None:
                export(out / "last", steps=trainer.steps_done)
                if best.step:
                    assert isinstance(network, Supervised)
                    best.install(network)
                    blend_with_start(config, network)
            export(
                out / "model", steps=trainer.steps_done if best is None else best.step or trainer.steps_done
            )
            if config.layers.trained == "adapters":
                export_adapters(config, network, out / "adapters")
    return {
        "model": str(out / "model"),
        "bad_files": dataset.bad_files.problems,
        "steps": trainer.steps_done,
        **({} if best is None else {"best_step": best.step, f"best_{best.name}": best.value}),
        "num_utterances": len(utterances),
        "encoder_parameters": sum(tensor.numel() for tensor in exported(network).parameters()),
        **trained_parameters(config, network),
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


def _evaluation(
    config: RunConfig,
    simulated: SegmentationData | None,
    labelled: Labelled | None,
    mels: MelFolder | None,
    processes: Processes,
) -> Evaluates | None:
    """What is measured during training; None for nothing."""
    if labelled is not None and labelled.validation:
        if config.evaluation.data is not None:
            raise InputError(
                "evaluation.data is not used by a run that validates on a fold of its own data",
                hint="remove it, or set supervised.folds=0",
            )
        embedding = (
            EmbeddedUtterances
            if mels is None
            else partial(EmbeddedMels, MelReader(mels, cache_mb=config.evaluation.cache_mb))
        )
        embedded = embedding(
            labelled.validation,
            encoder=config.encoder,
            features=config.features,
            processes=processes,
            cache_mb=config.evaluation.cache_mb,
            channel=config.crops.channel,
        )
        return Classification(embedded, labelled.validation_label_N, every=config.evaluation.every)
    if simulated is not None:
        if config.evaluation.data is not None:
            raise InputError(
                "evaluation.data is not used by objective=segmentation, which validates on held-out speakers",
                hint="remove it",
            )
        return simulated.evaluation
    if config.evaluation.data is None:
        return None
    return Evaluation(
        config.evaluation, encoder=config.encoder, features=config.features, processes=processes
    )


def _targets(
    config: RunConfig,
    directories: Sequence[Path],
    utterances: Sequence[Utterance],
    mixture: Mixture,
    out: Path,
    processes: Processes,
    on_work: Report,
) -> Targets | None:
    """Embeddings by ``distill.teacher`` if the objective uses them."""
    if config.objective != "distill":
        if config.distill.teacher is not None:
            raise InputError(f"distill.teacher is not used by objective={config.objective}", hint="remove it")
        return None
    ends = list(accumulate(mixture.sizes, initial=0))
    corpora = [
        Corpus(directory, utterances[first:last])
        for directory, (first, last) in zip(directories, pairwise(ends), strict=True)
    ]
    return teacher_embeddings(
        config.distill,
        corpora,
        config.augmentation.speaker_speeds,
        config.distill.cache or out / "teacher",
        processes=processes,
        max_missing_share=config.training.max_bad_share,
        on_progress=on_work if processes.first else unreported,
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Convert paths to text for YAML."""
    return {
        key: _plain(value) if isinstance(value, dict) else str(value) if isinstance(value, Path) else value
        for key, value in values.items()
    }
