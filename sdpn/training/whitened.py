"""A model whose cosines make use of what its back end has learned: what ``sdpn whiten`` does.

Shapes: N utterances, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance
from sdpn.models.embedder import Embedder
from sdpn.models.folder import ModelFolder, read_model, save_model
from sdpn.models.pretraining import own_pretraining
from sdpn.models.weights import weights_digest
from sdpn.models.whitening import whiten
from sdpn.training.clustering_threshold import measure_clustering_threshold
from sdpn.verification.storage import BACK_END, has_back_end, read_back_end


def whiten_folder(
    folder: Path,
    utterances: Sequence[Utterance],
    out: Path,
    *,
    back_end: Path | None = None,
    half: bool = False,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, float]:
    """Write a model with whitened embeddings (`sdpn.models.whitening`), calibrated anew.

    Args:
        folder: the model. The new folder has its head and prototypes, but no back end.
        utterances: clean speech of many speakers, such as the training speech, for the calibration.
        out: folder to write.
        back_end: file whose PLDA has the within-speaker covariance; None is that in ``folder``.
        half: store weights in 16 bits.
        seed: of the choice of utterances.
        device: that computes.

    Returns:
        the calibration (`sdpn.training.clustering_threshold`).

    Raises:
        InputError: the model cannot be read or does not end in a linear layer, its back end is missing, is
            another model's, or leaves out directions.
    """
    model = read_model(folder)
    transform_DD = _transform(folder, model, back_end)
    whitened, pretraining = whiten(model, own_pretraining(folder), torch.from_numpy(transform_DD))
    digest = weights_digest(model.encoder)
    calibration = measure_clustering_threshold(Embedder(whitened, device=device), utterances, seed=seed)
    whitened.encoder.to("cpu")
    source = {**model.source, "whitened_from": digest}
    save_model(
        out, replace(whitened, calibration=calibration, source=source), pretraining=pretraining, half=half
    )
    return calibration


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
