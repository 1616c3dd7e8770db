"""Fine-tuning with labels: any model that can be read, trained further by the loop of ``sdpn train``.

An experiment folder holds, beside what every run writes (`sdpn.training.pretrain`)::

    EXP/start           the model that was given, as a model folder
    EXP/adapters        with layers.trained=adapters: the small part alone
    EXP/comparisons     trials that were made, and scores of all trials before and after
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sdpn.data.mel_folder import is_mel_folder, read_mel_folder
from sdpn.errors import InputError
from sdpn.interop.read import read_any
from sdpn.io.kaldi import read_data_dir, read_table
from sdpn.models.classifier import CLASSES, Classes, read_classifier
from sdpn.models.embedder import Embedder
from sdpn.models.folder import ModelFolder, read_model, save_model
from sdpn.models.pretraining import own_pretraining
from sdpn.models.weights import weights_digest
from sdpn.pretrained import model_path
from sdpn.progress import Report, unreported
from sdpn.training.back_end import train_back_end
from sdpn.training.comparison import (
    TrialList,
    before_and_after,
    read_trial_list,
    trial_file,
    warn_of_shared_speech,
)
from sdpn.training.config import RunConfig
from sdpn.training.data import read_training_data
from sdpn.training.distributed import process_group
from sdpn.training.finetune_config import FinetuneConfig
from sdpn.training.initialisation import InitialConfig
from sdpn.training.labelled import speaker_table
from sdpn.training.loop import TrainingProgress
from sdpn.training.pretrain import pretrain
from sdpn.training.start import START
from sdpn.verification.storage import BACK_END, has_back_end, write_back_end

#: Folder of trials and scores, in an experiment folder.
COMPARISONS = "comparisons"
#: What a run writes when its training begins.
_CONFIGURATION = "config.yaml"


@dataclass(frozen=True, kw_only=True)
class FinetuneSources:
    """Inputs of fine-tuning.

    Attributes:
        data: Kaldi data directories with ``utt2spk``, or with labels in ``supervised.labels``.
        model: of any format whose weights can be read, or the name of one; None is the default model.
        format: of the model; None detects it.
        valid: data directory of other speakers: the step of the lowest EER on its trials is exported.
        test: data directories on whose trials the model is compared before and after.
        unlabelled: data directories of speech that is trained on without labels, in the same steps.
    """

    data: Sequence[Path]
    model: Path | None = None
    format: str | None = None
    valid: Path | None = None
    test: Sequence[Path] = ()
    unlabelled: Sequence[Path] = ()


def finetune(
    config: FinetuneConfig,
    sources: FinetuneSources,
    out: Path,
    *,
    new_head: bool = False,
    back_end: bool = False,
    on_progress: Callable[[TrainingProgress], None] = lambda _progress: None,
    on_work: Report = unreported,
) -> dict[str, Any]:
    """Fine-tune a model on labelled speech, or resume that, and compare it with what it was.

    Under torchrun, every process calls this; rank 0 writes.

    Args:
        config: the settings.
        sources: model and speech.
        out: experiment folder.
        new_head: begin with a new classifier, of any classes, although the model has one.
        back_end: train a back end for the fine-tuned model on the labelled speech.
        on_progress: called at every point of the training curves, on rank 0.
        on_work: called while initial prototypes are made, and trials and the speech of the back end embedded.

    Returns:
        summary as plain values: that of `sdpn.training.pretrain.pretrain`, the comparisons, the back end.

    Raises:
        InputError: as `pretrain`; or the model has no weights to train, has other classes than the data and
            ``new_head`` is not set, ``out`` is of another model, or trials cannot be read.
        sdpn.training.loop.Stopped: as `pretrain`.
    """
    began = time.monotonic()
    start = out / START
    with (
        process_group(config.training.device, config.training.timeout_minutes) as processes,
        _nothing_left(out) if processes.first else nullcontext(),
    ):
        given = _given(sources)
        if processes.first:
            _settle(given, model_path(sources.model), start)
        processes.gather(None)  # the folder is there for all
        names = _kept_classes(config, sources, start, new_head=new_head)
        directories = list(
            dict.fromkeys([*sources.test, *([] if sources.valid is None else [sources.valid])])
        )
        made = [_trials(config, one, out, directories) for one in directories] if processes.first else []
        files: list[Path] = processes.gather(made)[0]
        listed = [read_trial_list(*pair) for pair in zip(directories, files, strict=True)]
        if processes.first:
            _warn_of_known_speech(sources, dict(zip(directories, listed, strict=True)))
        run = _run_config(
            config,
            given,
            start,
            keeps=bool(names),
            from_features=any(is_mel_folder(one) for one in sources.data),
            valid=None if sources.valid is None else (sources.valid, files[directories.index(sources.valid)]),
        )
        results = pretrain(
            run,
            sources.data,
            out,
            unlabelled=sources.unlabelled,
            names=names,
            on_progress=on_progress,
            on_work=on_work,
        )
        if not processes.first:
            return results
        device = str(processes.device)
        before, after = (Embedder(read_model(path), device=device) for path in (start, out / "model"))
        compared = [
            before_and_after(
                before,
                after,
                one,
                chosen=directory == sources.valid,
                resamples=config.test.resamples,
                seed=config.test.seed,
                channel=config.crops.channel,
                scores=out / COMPARISONS / f"{_stem(directory, directories)}.npz",
                on_progress=partial(on_work, f"trials of {directory.name}"),
            ).to_dict()
            for directory, one in zip(directories, listed, strict=True)
        ]
        fits = "none"
        if back_end:
            _write_back_end(config, sources, after, out / "model", partial(on_work, "back end"))
            fits = "new"
        elif has_back_end(start):
            fits = "does not fit"
    trained = results.get("trained_parameters", results["encoder_parameters"])
    return {
        **results,
        "start": str(start),
        "start_digest": weights_digest(given.encoder),
        "trained_parameters": trained,
        "trained_share": trained / results["encoder_parameters"],
        "new_head": not names,
        "comparisons": compared,
        "back_end": fits,
        "seconds": time.monotonic() - began,
    }


@contextmanager
def _nothing_left(out: Path) -> Iterator[None]:
    """Remove what a run has written that is refused before its training begins."""
    is_new = not any((out / name).exists() for name in (START, COMPARISONS, _CONFIGURATION))
    was_there = out.exists()
    try:
        yield
    except InputError:
        if is_new and not (out / _CONFIGURATION).exists():
            for name in (START, COMPARISONS):
                shutil.rmtree(out / name, ignore_errors=True)
            if not was_there:
                shutil.rmtree(out, ignore_errors=True)
        raise


def _warn_of_known_speech(sources: FinetuneSources, listed: Mapping[Path, TrialList]) -> None:
    """Warn of trials of speech that is trained on, or that the best step is chosen on."""
    trained = [
        utterance
        for directory in sources.data
        if not is_mel_folder(directory)
        for utterance in read_data_dir(directory)
    ]
    for directory, one in listed.items():
        option = "--valid" if directory == sources.valid else "--test"
        warn_of_shared_speech(trained, one.utterances, ("--data", f"{option} {directory}"))
        if sources.valid is not None and directory != sources.valid:
            valid = listed[sources.valid].utterances
            warn_of_shared_speech(valid, one.utterances, ("--valid", f"--test {directory}"))


def _given(sources: FinetuneSources) -> ModelFolder:
    """The model to start from.

    Raises:
        InputError: it cannot be read, or has adapters.
    """
    given = read_any(sources.model, sources.format)
    if given.adapters is not None:
        raise InputError(
            "has adapters that cannot be merged, and no others can be added to them",
            path=sources.model,
            hint="fine-tune the model that they were trained on",
        )
    return given


def _settle(given: ModelFolder, named: Path, start: Path) -> None:
    """Write the start of this run, or check that it is what the run started from.

    Raises:
        InputError: the experiment folder is of another model.
    """
    digest = weights_digest(given.encoder)
    if start.exists():
        known = weights_digest(read_model(start).encoder)
        if known != digest:
            raise InputError(
                f"was begun with another model: digest {known}; that of {named} is {digest}",
                path=start.parent,
                hint="give the same model, or another --out",
            )
        return
    is_ours = named.is_dir()
    save_model(
        start,
        replace(given, source={**given.source, "name": named.name}),
        pretraining=own_pretraining(named) if is_ours else None,
        classes=_classes(named),
        beside=[named / BACK_END] if has_back_end(named) else [],
    )


def _classes(folder: Path) -> Classes | None:
    """The classes of a model that was trained with labels."""
    return read_classifier(folder).classes if (folder / CLASSES).is_file() else None


def _kept_classes(
    config: FinetuneConfig, sources: FinetuneSources, start: Path, *, new_head: bool
) -> tuple[str, ...]:
    """The classes of the start if its classifier is trained further; empty for a new one.

    Raises:
        InputError: it is of other classes, or of another kind.
    """
    known = _classes(start)
    if known is None or new_head:
        return ()
    settings = config.supervised
    hint = "give --new-head to begin with a new classifier"
    if len(config.augmentation.speaker_speeds) > 1:
        raise InputError(
            "has a classifier of speech at its own speed alone",
            path=sources.model,
            hint=f"{hint}, or set augmentation.speed_probability=0",
        )
    if (known.head, known.sub_centres) != (settings.head, settings.sub_centres):
        raise InputError(
            f"has a classifier of supervised.head={known.head} sub_centres={known.sub_centres}, not "
            f"{settings.head} and {settings.sub_centres}",
            path=sources.model,
            hint=f"{hint}, or set these",
        )
    found = _classes_of_data(config, sources)
    different = sorted(found ^ set(known.names))
    if different:
        raise InputError(
            f"classifies {len(known.names)} classes, the data have {len(found)}: "
            f"{different[0]!r} is only in the {'data' if different[0] in found else 'model'}",
            path=sources.model,
            hint=hint,
        )
    return known.names


def _classes_of_data(config: FinetuneConfig, sources: FinetuneSources) -> set[str]:
    if config.supervised.labels is None and is_mel_folder(sources.data[0]):
        return set(read_mel_folder(sources.data[0]).names)
    table = _labels(config, sources)
    utterances, _ = read_training_data(sources.data, check_files=False)
    return {table[name] for name in utterances.ids if name in table}


def _labels(config: FinetuneConfig, sources: FinetuneSources) -> dict[str, str]:
    if config.supervised.labels is not None:
        return read_table(config.supervised.labels)
    return speaker_table(sources.data)[0]


def _trials(config: FinetuneConfig, directory: Path, out: Path, among: Sequence[Path]) -> Path:
    return trial_file(
        directory,
        out / COMPARISONS / f"{_stem(directory, among)}.trials",
        most=config.test.most_trials,
        seed=config.test.seed,
    )


def _stem(directory: Path, among: Sequence[Path]) -> str:
    """Name of the files of a data directory: its own, with a number where several share it."""
    same = [one for one in among if one.name == directory.name]
    return directory.name if len(same) == 1 else f"{directory.name}-{same.index(directory) + 1}"


def _run_config(
    config: FinetuneConfig,
    given: ModelFolder,
    start: Path,
    *,
    keeps: bool,
    from_features: bool,
    valid: tuple[Path, Path] | None,
) -> RunConfig:
    """The training run: that of ``sdpn train --objective supervised``, from a given network.

    Raises:
        InputError: settings exclude each other.
    """
    evaluation = config.evaluation
    if valid is not None:
        evaluation = replace(evaluation, data=valid[0], trials=valid[1], choose=True)
    prototypes: Literal["keep", "classes", "uniform"] = "uniform" if from_features else "classes"
    try:
        return RunConfig(
            objective="supervised",
            features=given.features,
            encoder=given.encoder_config,
            head=config.head,
            teacher=config.teacher,
            sdpn=config.sdpn,
            supervised=config.supervised,
            initial=InitialConfig(model=start, prototypes="keep" if keeps else prototypes),
            layers=config.layers,
            adapters=config.adapters,
            crops=config.crops,
            augmentation=config.augmentation,
            optimizer=config.optimizer,
            training=config.training,
            guards=config.guards,
            evaluation=evaluation,
        )
    except ValueError as error:
        raise InputError(str(error), hint="--valid DIR gives a validation set") from None


def _write_back_end(
    config: FinetuneConfig,
    sources: FinetuneSources,
    model: Embedder,
    folder: Path,
    on_progress: Callable[[int, int], None],
) -> None:
    """Train a back end on the labelled speech and write it into the model folder.

    Raises:
        InputError: as `train_back_end`.
    """
    table = _labels(config, sources)
    utterances = [
        utterance
        for directory in sources.data
        for utterance in read_data_dir(directory)
        if utterance.id in table
    ]
    trained = train_back_end(
        model,
        utterances,
        classes=table,
        noise=config.augmentation.noise,
        rir=config.augmentation.rir,
        on_progress=on_progress,
    )
    write_back_end(folder / BACK_END, trained.back_end)
