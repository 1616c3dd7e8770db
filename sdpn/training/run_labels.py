"""The labels of a run: classes, with unlabelled speech beside them or not, or pseudo-labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from sdpn.data.mel_folder import MelFolder
from sdpn.data.sampler import Mixture
from sdpn.data.utterance_table import UtteranceTable
from sdpn.distill.labels import Labels, read_labels
from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance, read_table
from sdpn.training.config import RunConfig
from sdpn.training.data import read_training_data
from sdpn.training.labelled import Labelled, labelled_data, speaker_table


def classes_of_run(
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
    if mels is not None and settings.labels is None:
        return labelled_data(
            settings, utterances, mixture, mels.class_of, mels.source, names=names or mels.names
        )
    if settings.labels is not None:
        table, source = read_table(settings.labels), settings.labels
    else:
        table, source = speaker_table(directories)
    return labelled_data(settings, utterances, mixture, table, source, names=names)


def with_unlabelled(
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


def pseudo_labels_of_run(config: RunConfig, utterances: Sequence[Utterance]) -> Labels | None:
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
    if len(config.augmentation.speaker_speeds) > 1:
        raise InputError(
            "augmentation.speed_speaker=new creates speakers without a pseudo-label",
            hint="with objective=pseudo set augmentation.speed_speaker=same, or speed_probability=0",
        )
    return read_labels(path, utterances)
