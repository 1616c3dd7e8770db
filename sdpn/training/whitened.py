"""A model whose cosines make use of what its back end has learned: what ``sdpn whiten`` does.

Shapes: N utterances, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from sdpn.errors import InputError
from sdpn.extraction.embed_corpus import embed_corpus
from sdpn.io.kaldi import Utterance
from sdpn.models.embedder import Embedder
from sdpn.models.folder import ModelFolder, read_model, save_model
from sdpn.models.pretraining import own_pretraining
from sdpn.models.weights import weights_digest
from sdpn.models.whitening import whiten
from sdpn.training.back_end import some_utterances
from sdpn.training.clustering_threshold import measure_clustering_threshold
from sdpn.verification.storage import BACK_END, has_back_end, read_back_end

#: Utterances that the mean is of; more change cosines in the third decimal.
_NUM_UTTERANCES = 2000


@dataclass(frozen=True, kw_only=True)
class Whitened:
    """What was written.

    Attributes:
        model: the folder.
        num_utterances: the mean embedding is that of so many.
        calibration: measured on the new embeddings.
    """

    model: Path
    num_utterances: int
    calibration: dict[str, float]


def whiten_folder(
    folder: Path,
    corpora: Sequence[Sequence[Utterance]],
    out: Path,
    *,
    back_end: Path | None = None,
    half: bool = False,
    seed: int = 0,
    device: str = "cpu",
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Whitened:
    """Write a model with whitened embeddings (`sdpn.models.whitening`), calibrated anew.

    Args:
        folder: the model. The new folder has its head and prototypes, but no back end.
        corpora: clean speech of many speakers, such as the training speech. The mean embedding of each counts
            alike, whatever its size.
        out: folder to write.
        back_end: file whose PLDA has the within-speaker covariance; None is that in ``folder``.
        half: store weights in 16 bits.
        seed: of the choice of utterances.
        device: that computes.
        on_progress: called with (done, total).

    Raises:
        InputError: the model cannot be read or does not end in a linear layer, its back end is missing, is
            another model's or leaves out directions, a corpus is empty, or an utterance cannot be embedded.
    """
    model = read_model(folder)
    transform_DD = _transform(folder, model, back_end)
    share = max(1, _NUM_UTTERANCES // max(1, len(corpora)))
    parts = [some_utterances(utterances, share, seed=seed) for utterances in corpora]
    if not parts or not all(parts):
        raise InputError("a mean embedding cannot be taken of a corpus without utterances")
    chosen = [utterance for part in parts for utterance in part]
    embedded = embed_corpus(Embedder(model, device=device), chosen, on_progress=on_progress)
    rows_ND = np.concatenate([each.embeddings_ND for each in embedded]).astype(np.float64)
    borders = np.cumsum([len(part) for part in parts])[:-1]
    mean_D = np.mean([rows.mean(axis=0) for rows in np.split(rows_ND, borders)], axis=0)
    model.encoder.to("cpu")
    whitened, pretraining = whiten(
        model,
        own_pretraining(folder),
        transform_DD=torch.from_numpy(transform_DD),
        mean_D=torch.from_numpy(mean_D),
    )
    every = [utterance for utterances in corpora for utterance in utterances]
    calibration = measure_clustering_threshold(Embedder(whitened, device=device), every, seed=seed)
    source = {**model.source, "whitened_from": weights_digest(model.encoder)}
    save_model(
        out, replace(whitened, calibration=calibration, source=source), pretraining=pretraining, half=half
    )
    return Whitened(model=out, num_utterances=len(chosen), calibration=calibration)


def _transform(folder: Path, model: ModelFolder, back_end: Path | None) -> np.ndarray:
    """The map (D, D) of the PLDA to a space where the within-speaker covariance is the identity."""
    if back_end is None and not has_back_end(folder):
        raise InputError(
            f"has no {BACK_END}, from which the within-speaker covariance is taken",
            path=folder,
            hint="run sdpn backend first, or give a file as --back-end",
        )
    path = back_end or folder / BACK_END
    found = read_back_end(path)
    found.refuse_other_model(weights_digest(model.encoder), path=folder)
    transform_ED = found.plda.transform_ED
    if transform_ED.shape[0] != transform_ED.shape[1]:
        raise InputError(
            f"has {transform_ED.shape[0]} of {transform_ED.shape[1]} directions: the map must keep all",
            path=path,
        )
    return transform_ED
