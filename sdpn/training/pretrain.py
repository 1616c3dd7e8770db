"""A complete training run: from data directories and a configuration to an exported model."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from sdpn.augmentation.augment import PRESETS, Augmenter
from sdpn.config import to_dict
from sdpn.data.dataset import CropDataset, TrainingSet
from sdpn.data.mel_folder import MelFolder, MelReader, MelSegments, is_mel_folder, read_mel_folder
from sdpn.data.sampler import InOrder, Mixture
from sdpn.data.utterance_table import UtteranceTable
from sdpn.distill.base import Objective, SelfDistillation
from sdpn.distill.labels import Labels, read_labels
from sdpn.distill.segmentation import Segmentation
from sdpn.distill.supervised import Supervised
from sdpn.distill.targets import Targets
from sdpn.errors import InputError
from sdpn.interop.segmentation import load_segmentation
from sdpn.io.atomic import atomic_write_text
from sdpn.io.checksum import file_sha256
from sdpn.io.kaldi import Utterance, iterate_data_dir, read_table, refuse_shared_ids
from sdpn.models.adapter_folder import in_layers, save_adapters
from sdpn.models.blend import blend_weights
from sdpn.models.embedder import Embedder
from sdpn.models.encoder import Encoder
from sdpn.models.folder import ModelFolder, read_model, save_model
from sdpn.models.pretraining import Pretraining
from sdpn.models.segmentation_folder import save_segmentation
from sdpn.models.weights import weights_digest
from sdpn.pretrained import model_path
from sdpn.tracking.board import Board
from sdpn.training.best import Best
from sdpn.training.build import build
from sdpn.training.checkpoint import CheckpointStore, lock_run
from sdpn.training.classification import ACCURACY, Classification, EmbeddedMels
from sdpn.training.clustering_threshold import measure_clustering_threshold
from sdpn.training.config import WITHOUT_TEACHER, RunConfig
from sdpn.training.dashboard import Dashboard
from sdpn.training.distributed import Processes, process_group
from sdpn.training.evaluation import EER, EmbeddedUtterances, Evaluates, Evaluation
from sdpn.training.failures import failures_explained
from sdpn.training.initialisation import initialise
from sdpn.training.labelled import Labelled, labelled_data, speaker_table
from sdpn.training.layers import LayerPlan, LayersConfig
from sdpn.training.loop import Trainer, TrainingProgress
from sdpn.training.segmentation_data import SegmentationData, segmentation_data
from sdpn.training.teacher_embeddings import Corpus, teacher_embeddings, teacher_speeds

_log = logging.getLogger(__name__)

#: Settings that may change when a run is resumed, because they do not affect the result.
_FREE_OF_TRAINING = (
    "workers",
    "cache_mb",
    "max_bad_share",
    "log_every",
    "checkpoint_every",
    "checkpoint_minutes",
    "keep_checkpoints",
    "keep_every",
    "projector_every",
    "explain_every",
    "timeout_minutes",
    "rendezvous_minutes",
)

#: Folder of the model that a fine-tuning run started from, in its experiment folder.
START = "start"

#: The same for the section ``distill``.
_FREE_OF_DISTILL = ("teacher", "teacher_format", "teacher_precision", "cache")


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
    utterances = UtteranceTable()
    sizes = []
    for directory in directories:
        before = len(utterances)
        utterances.extend(iterate_data_dir(directory, check_files=check_files, speakers=False))
        sizes.append(len(utterances) - before)
    if len(directories) > 1:
        refuse_shared_ids(utterances.ids, directories, sizes)
    return utterances, Mixture(tuple(sizes), weights)


def pretrain(
    config: RunConfig,
    directories: Sequence[Path],
    out: Path,
    *,
    unlabelled: Sequence[Path] = (),
    names: Sequence[str] = (),
    on_progress: Callable[[TrainingProgress], None] = lambda _progress: None,
    on_work: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
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
        mels = _mel_folder(config, directories, mel_reader)
        utterances, mixture = (
            read_training_data(directories, config.training.corpus_weights, check_files=not begun)
            if mels is None
            else (UtteranceTable(mels.utterances), Mixture((len(mels.utterances),)))
        )
        labelled = _labelled(config, directories, utterances, mixture, mels, names)
        if labelled is not None and unlabelled:
            labelled = _with_unlabelled(config, labelled, directories, unlabelled, check_files=not begun)
        if labelled is not None:
            utterances, mixture = labelled.utterances, labelled.mixture
        if training.shuffle_buffer:
            if mixture.label_N is not None:
                raise InputError(
                    "training.shuffle_buffer reads in order, supervised.balanced draws by class: set one"
                )
            in_order = InOrder(training.shuffle_buffer, utterances.shard_starts())
            mixture = replace(mixture, in_order=in_order)
        labels = _labels(config, utterances) if labelled is None else labelled.labels
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
            _identity(configuration, utterances, mixture, labels, targets, simulated)
            | _start_identity(config, out),
            defaults=to_dict(RunConfig()),
            keep=config.training.keep_checkpoints,
            keep_every=config.training.keep_every,
            world=processes.world,
        )
        torch.manual_seed(config.training.seed)
        network = build(config, labels, targets, given_features=mels is not None).to(processes.device)
        if targets is not None and processes.first:
            _warn_if_larger_than_teacher(network, targets)
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
                on_progress=on_work if processes.first else lambda _what, _done, _total: None,
            )
        if mels is not None and mel_reader is None:
            mel_reader = MelReader(mels, cache_mb=training.cache_mb)
        dataset = _dataset(config, utterances, mixture, simulated, mel_reader, processes.device)

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
            late=_late(config, dataset, utterances, mixture, processes.device),
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
                _export,
                config,
                network,
                utterances,
                targets,
                device=processes.device,
                versions=store.versions,
                calibrate=mels is None,
            )
            _blend(config, network)
            if best is not None:
                export(out / "last", steps=trainer.steps_done)
                if best.step:
                    assert isinstance(network, Supervised)
                    best.install(network)
                    _blend(config, network)
            export(
                out / "model", steps=trainer.steps_done if best is None else best.step or trainer.steps_done
            )
            if config.layers.trained == "adapters":
                _export_adapters(config, network, out / "adapters")
    return {
        "model": str(out / "model"),
        "bad_files": dataset.bad_files.problems,
        "steps": trainer.steps_done,
        **({} if best is None else {"best_step": best.step, f"best_{best.name}": best.value}),
        "num_utterances": len(utterances),
        "encoder_parameters": sum(tensor.numel() for tensor in _exported(network).parameters()),
        **_trained(config, network),
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


def _exported(network: Objective) -> nn.Module:
    """The part of the teacher that is exported for use."""
    return network.teacher.encoder if isinstance(network, SelfDistillation) else network.teacher


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


def _warn_if_larger_than_teacher(student: Objective, targets: Targets) -> None:
    """Warn if the student is larger than its teacher."""
    own = sum(tensor.numel() for tensor in _exported(student).parameters())
    if targets.teacher_parameters is not None and own > targets.teacher_parameters:
        _log.warning(
            "the student has %s parameters, more than the %s of its teacher",
            f"{own:,}",
            f"{targets.teacher_parameters:,}",
        )


def _teacher_source(config: RunConfig, targets: Targets | None) -> dict[str, str]:
    """File name and fingerprint of the distillation teacher, for information."""
    if targets is None or config.distill.teacher is None:
        return {}
    return {"teacher": f"{config.distill.teacher.name} {targets.teacher}"}


def _export(
    config: RunConfig,
    network: Objective,
    utterances: Sequence[Utterance],
    targets: Targets | None,
    path: Path,
    *,
    steps: int,
    device: torch.device,
    versions: dict[str, str],
    calibrate: bool,
) -> None:
    """Write the teacher as a model folder, with its clustering threshold and its origin."""
    source = {
        "objective": config.objective,
        "steps": steps,
        "seed": config.training.seed,
        "num_utterances": len(utterances),
        **_teacher_source(config, targets),
        **_start_source(config),
        **versions,
    }
    if isinstance(network, Segmentation):
        save_segmentation(path, network.teacher, window_s=config.segmentation.window_s, source=source)
        return
    assert isinstance(network, SelfDistillation)
    teacher = network.teacher.eval()
    assert isinstance(teacher.encoder, Encoder)
    adapters = config.adapters if config.layers.trained == "adapters" else None
    model = in_layers(
        ModelFolder(teacher.encoder, config.encoder, config.features, source=source, adapters=adapters)
    )
    calibration: Mapping[str, float] = {}
    if calibrate:
        calibration = measure_clustering_threshold(
            Embedder(model, device=str(device)),
            utterances,
            seed=config.training.seed,
            channel=config.crops.channel,
        )
    classes, prototypes = None, network.prototypes.detach()
    if isinstance(network, Supervised):
        classes, prototypes = network.classes(average=True), network.average_JE
    teacher.to("cpu")
    save_model(
        path,
        replace(model, calibration=calibration),
        pretraining=Pretraining(teacher.head.state_dict(), prototypes),
        classes=classes,
    )
    teacher.to(device)


def _blend(config: RunConfig, network: Objective) -> None:
    """Give the exported encoder the weights between the start and its own, as ``layers.blend`` says."""
    if config.layers.blend == 1:
        return
    assert isinstance(network, SelfDistillation) and config.initial.model is not None
    start = read_model(model_path(config.initial.model)).encoder.state_dict()
    encoder = network.teacher.encoder
    own = {name: value.cpu() for name, value in encoder.state_dict().items()}
    encoder.load_state_dict(blend_weights(start, own, config.layers.blend))


def _trained(config: RunConfig, network: Objective) -> dict[str, int]:
    """How many numbers of the encoder were trained, of a run that need not train all."""
    if config.layers == LayersConfig():
        return {}
    assert isinstance(network, SelfDistillation)
    plan = LayerPlan(config.layers, network)
    return {"trained_parameters": plan.num_trained}


def _start_source(config: RunConfig) -> dict[str, str]:
    """Name and digest of the model that was fine-tuned, for information."""
    if config.initial.model is None or config.initial.model.name != START:
        return {}
    start = read_model(config.initial.model)
    return {"start": f"{start.source.get('name')} {weights_digest(start.encoder)}"}


def _export_adapters(config: RunConfig, network: Objective, path: Path) -> None:
    """Write the adapters alone."""
    assert isinstance(network, SelfDistillation) and config.initial.model is not None
    encoder = network.teacher.encoder
    assert isinstance(encoder, Encoder)
    base = read_model(model_path(config.initial.model)).source.get("name", config.initial.model.name)
    model = ModelFolder(encoder, config.encoder, config.features, adapters=config.adapters)
    save_adapters(path, model, base=str(base))


def _start_identity(config: RunConfig, out: Path) -> dict[str, Any]:
    """The start of a fine-tuning run, which lies in its own folder, by its weights instead of its place."""
    start = config.initial.model
    if start is None or start != out / START:
        return {}
    digest = weights_digest(read_model(start).encoder)
    return {"initial": {**to_dict(config.initial), "model": f"{START} {digest}"}}


def _late(
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
    late = _dataset(replace(config, crops=crops), utterances, mixture, None, None, device)
    late.bad_files = dataset.bad_files
    return settings.long_start_step, late


def _with_unlabelled(
    config: RunConfig,
    labelled: Labelled,
    directories: Sequence[Path],
    unlabelled: Sequence[Path],
    *,
    check_files: bool,
) -> Labelled:
    """Add utterances without a label, their share of every batch as configured.

    Raises:
        InputError: they cannot be read, an utterance is among the labelled ones, or settings exclude them.
    """
    settings, training = config.supervised, config.training
    if not settings.cosine or training.accumulate > 1 or not config.crops.num_global:
        raise InputError(
            "unlabelled speech needs supervised.head am or aam, training.accumulate=1 and crops.num_global=1",
            path=unlabelled[0],
        )
    if min(settings.unlabelled_share, 1 - settings.unlabelled_share) * training.batch_size < 2:
        raise InputError(
            f"supervised.unlabelled_share={settings.unlabelled_share} leaves fewer than two utterances of a "
            f"kind in a batch of {training.batch_size}",
            hint="use larger batches, or another share",
        )
    more, added = read_training_data(unlabelled, check_files=check_files)
    known = set(labelled.utterances.ids) | {one.id for one in labelled.validation}
    twice = next((name for name in more.ids if name in known), None)
    if twice is not None:
        raise InputError(
            f"utterance {twice!r} is also in {', '.join(map(str, directories))}",
            path=unlabelled[0],
            hint="give the labelled and the unlabelled speech apart",
        )
    sizes, weights = labelled.mixture.sizes, labelled.mixture.weights
    if not weights:
        sizes, weights = (sum(sizes),), (1.0,)
    share = settings.unlabelled_share
    table = UtteranceTable(labelled.utterances)
    table.extend(more)
    label_N = torch.cat([labelled.labels.label_N, torch.full((len(more),), -1)])
    return labelled._replace(
        utterances=table,
        labels=labelled.labels._replace(label_N=label_N),
        mixture=Mixture(
            (*sizes, sum(added.sizes)),
            (*((1 - share) * weight / sum(weights) for weight in weights), share),
            label_N=label_N.cpu().numpy() if settings.balanced else None,
        ),
    )


def _mel_folder(config: RunConfig, directories: Sequence[Path], reader: MelReader | None) -> MelFolder | None:
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


def _dataset(
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


def _labelled(
    config: RunConfig,
    directories: Sequence[Path],
    utterances: UtteranceTable,
    mixture: Mixture,
    mels: MelFolder | None,
    names: Sequence[str],
) -> Labelled | None:
    """The classes of ``objective=supervised``; None for the others."""
    settings = config.supervised
    if config.objective != "supervised":
        if settings.labels is not None:
            raise InputError(
                f"supervised.labels is not used by objective={config.objective}", hint="remove it"
            )
        return None
    _refuse_other_speeds(config)
    if mels is not None and settings.labels is None:
        return labelled_data(
            settings, utterances, mixture, mels.class_of, mels.source, names=names or mels.names
        )
    if settings.labels is not None:
        table, source = read_table(settings.labels), settings.labels
    else:
        table, source = speaker_table(directories)
    return labelled_data(settings, utterances, mixture, table, source, names=names)


def _refuse_other_speeds(config: RunConfig) -> None:
    augmentation = config.augmentation
    if augmentation.speed_probability and augmentation.speed_speaker == "new":
        raise InputError(
            "augmentation.speed_speaker=new creates speakers without a label",
            hint=f"with objective={config.objective} set augmentation.speed_speaker=same, or "
            "speed_probability=0",
        )


def _labels(config: RunConfig, utterances: Sequence[Utterance]) -> Labels | None:
    """Read ``pseudo.labels`` if the objective uses them."""
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
    _refuse_other_speeds(config)
    return read_labels(path, utterances)


def _targets(
    config: RunConfig,
    directories: Sequence[Path],
    utterances: Sequence[Utterance],
    mixture: Mixture,
    out: Path,
    processes: Processes,
    on_work: Callable[[str, int, int], None],
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
        teacher_speeds(config.augmentation),
        config.distill.cache or out / "teacher",
        processes=processes,
        max_missing_share=config.training.max_bad_share,
        on_progress=on_work if processes.first else lambda _what, _done, _total: None,
    )


def _identity(
    configuration: dict[str, Any],
    utterances: UtteranceTable,
    mixture: Mixture,
    labels: Labels | None,
    targets: Targets | None,
    simulated: SegmentationData | None = None,
) -> dict[str, Any]:
    """Settings and data that must be unchanged to resume from a checkpoint."""
    ids = hashlib.sha256()
    channels: list[int | None] = []
    for number, (key, start_s, end_s, channel) in enumerate(utterances.stretches()):
        line = f"{key} {start_s} {end_s}"
        ids.update((f"\n{line}" if number else line).encode())
        if channel is not None or channels:
            channels.append(channel)
    if channels:
        ids.update(f"\n{[None] * (len(utterances) - len(channels)) + channels}".encode())
    if mixture.weights:  # otherwise corpus boundaries have no effect
        ids.update(f"\n{mixture.sizes}".encode())
    if labels is not None:
        ids.update(f"\n{labels.label_N.tolist()}".encode())
        if labels.names:
            ids.update(f"\n{labels.names}".encode())
    if simulated is not None:
        ids.update(f"\n{simulated.digest}".encode())
    training = {
        key: value for key, value in configuration["training"].items() if key not in _FREE_OF_TRAINING
    }
    watched = {key: value for key, value in configuration.items() if key != "evaluation"}
    if configuration["evaluation"]["choose"]:
        trials = Path(configuration["evaluation"]["trials"])
        watched["chosen"] = [configuration["evaluation"]["every"], file_sha256(trials)[:16]]
    if targets is not None:  # the embeddings count, not where teacher and cache are
        objective = {key: value for key, value in watched["distill"].items() if key not in _FREE_OF_DISTILL}
        watched["distill"] = {**objective, "targets": targets.digest}
    return {**watched, "training": training, "data": ids.hexdigest()[:16]}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Convert paths to text for YAML."""
    return {
        key: _plain(value) if isinstance(value, dict) else str(value) if isinstance(value, Path) else value
        for key, value in values.items()
    }
