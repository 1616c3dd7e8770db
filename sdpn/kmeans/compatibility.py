"""A k-means interface compatible with SpeechBrain's.

SpeechBrain's ``train`` once called ``fit`` on every chunk, which discards earlier chunks; later versions
dropped rows that did not fill a batch, and silently created a new model if the path had none. Here every row
is used in every epoch, for any length of chunks and batches, and a missing model is an error.

Torch is only imported if a network is given.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sdpn.config import from_dict
from sdpn.errors import InputError
from sdpn.kmeans.chunks import Chunk, IterableChunk, open_chunk, write_chunks
from sdpn.kmeans.fit import Fit, FitProgress, fit_stream
from sdpn.kmeans.model import KMeansModel
from sdpn.kmeans.settings import StreamSettings

if TYPE_CHECKING:
    from sdpn.kmeans.layer_features import Device, Module


class StreamingKMeans:
    """Training settings and, once trained, the model.

    Attributes:
        settings: settings of the training.
        model: the trained or loaded model; None before training.
    """

    def __init__(self, settings: StreamSettings, model: KMeansModel | None = None) -> None:
        self.settings = settings
        self.model = model

    @property
    def cluster_centers_(self) -> np.ndarray:
        """Centres (K, D) float64 in the space of the input."""
        return self._trained().centres_KD

    def predict(self, rows_ND: np.ndarray) -> np.ndarray:
        """Labels (N,) int32 of rows (N, D)."""
        return self._trained().predict(rows_ND)

    def _trained(self) -> KMeansModel:
        if self.model is None:
            raise InputError("this k-means is not trained yet", hint="train(kmeans, loader)")
        return self.model


def fetch_kmeans_model(
    n_clusters: int | None = None,
    init: Literal["k-means++", "random"] = "k-means++",
    max_iter: int = 100,
    batch_size: int | None = None,
    tol: float = 0.0,
    max_no_improvement: int | None = 10,
    n_init: int = 3,
    reassignment_ratio: float = 0.01,
    random_state: int = 0,
    compute_labels: bool = False,  # noqa: ARG001
    init_size: int | None = None,
    checkpoint_path: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> StreamingKMeans:
    """Create a k-means model to train, or load a trained one.

    Args:
        n_clusters: K; required without ``checkpoint_path``.
        init: see `StreamSettings`.
        max_iter: see `StreamSettings`.
        batch_size: see `StreamSettings`.
        tol: see `StreamSettings`.
        max_no_improvement: see `StreamSettings`.
        n_init: see `StreamSettings`.
        reassignment_ratio: see `StreamSettings`.
        random_state: ``seed`` of `StreamSettings`.
        compute_labels: accepted for compatibility, without effect.
        init_size: see `StreamSettings`.
        checkpoint_path: a model written by `save_model`; further training starts from its centres.
        settings: other fields of `StreamSettings`.

    Raises:
        InputError: there is no model at ``checkpoint_path``, or it has another number of clusters; a setting
            is unknown or out of range.
    """
    model = None if checkpoint_path is None else KMeansModel.load(checkpoint_path)
    if model is not None and n_clusters not in (None, model.n_clusters):
        raise InputError(f"has {model.n_clusters} clusters, not {n_clusters}", path=checkpoint_path)
    if model is not None:
        n_clusters = model.n_clusters
        settings = {"standardise": bool((model.space.scale_D != 1).any()), **settings}
        if settings.setdefault("spherical", model.space.spherical) != model.space.spherical:
            raise InputError(f"has spherical={model.space.spherical}", path=checkpoint_path)
    if n_clusters is None:
        raise InputError("n_clusters is missing", hint="give n_clusters, or checkpoint_path")
    values = {
        "n_clusters": n_clusters,
        "init": init,
        "init_size": init_size,
        "n_init": n_init,
        "batch_size": batch_size,
        "max_iter": max_iter,
        "tol": tol,
        "max_no_improvement": max_no_improvement,
        "reassignment_ratio": reassignment_ratio,
        "seed": random_state,
        **settings,
    }
    return StreamingKMeans(from_dict(StreamSettings, values), model)


def accumulate_and_extract_features(
    batch: Any,
    features_list: list[np.ndarray],
    ssl_model: Module,
    ssl_layer_num: int | str,
    device: Device = "cpu",
    *,
    feature_axis: int = 2,
) -> None:
    """Append the outputs (D,) of a layer for a batch to a list, without padded frames.

    Args:
        batch: see `sdpn.kmeans.layer_features.ssl_rows`.
        features_list: one array is appended per row. `train` does not need this list.
        ssl_model: see `sdpn.kmeans.layer_features.ssl_rows`.
        ssl_layer_num: number or name of the layer.
        device: see `sdpn.kmeans.layer_features.ssl_rows`.
        feature_axis: see `sdpn.kmeans.layer_features.ssl_rows`.

    Raises:
        InputError: see `sdpn.kmeans.layer_features.ssl_rows`.
    """
    from sdpn.kmeans.layer_features import ssl_rows

    features_list.extend(ssl_rows(batch, ssl_model, ssl_layer_num, device, feature_axis=feature_axis))


def train(
    model: StreamingKMeans,
    train_set: Iterable[Any],
    ssl_model: Module | None = None,
    ssl_layer_num: int | str | None = None,
    kmeans_batch_size: int | None = None,
    device: Device = "cpu",
    *,
    feature_axis: int = 2,
    save_path: str | os.PathLike[str] | None = None,
    on_progress: Callable[[FitProgress], None] | None = None,
) -> Fit:
    """Train on the outputs of a network's layer, or on rows; the result is stored in ``model``.

    With ``ssl_model`` the network runs once over ``train_set``; its rows are written to temporary files
    instead of being held in memory.

    Args:
        model: from `fetch_kmeans_model`.
        train_set: with ``ssl_model``, batches as for `sdpn.kmeans.layer_features.ssl_rows`. Otherwise pieces
            (n, D) of any length, arrays or CPU tensors, with the same rows in every pass (a list or a
            ``DataLoader``; resuming is only exact without shuffling); or a list of chunks or chunk files
            (``.npy``, ``.ark``, ``.scp``).
        ssl_model: the network.
        ssl_layer_num: layer of the network, by number or name.
        kmeans_batch_size: overrides ``batch_size`` of the settings.
        device: device of the network.
        feature_axis: see `sdpn.kmeans.layer_features.ssl_rows`.
        save_path: file (``.npz``) to save the state to and to resume from; see `fit_stream`. The rows of a
            network are stored next to it as ``<name>.rows``; a resumed run computes them again.
        on_progress: see `fit_stream`.

    Raises:
        InputError: only one of ``ssl_model`` and ``ssl_layer_num`` is given; without a network, ``train_set``
            can be iterated only once; or as `fit_stream`.
    """
    if (ssl_model is None) != (ssl_layer_num is None):
        raise InputError(
            "ssl_model and ssl_layer_num must be given together",
            hint="give both, or neither to train on rows",
        )
    settings = model.settings
    if kmeans_batch_size is not None:
        settings = replace(settings, batch_size=kmeans_batch_size)

    def fit(chunks: Sequence[Chunk]) -> Fit:
        return fit_stream(
            chunks,
            settings,
            state=save_path,
            centres_KD=None if model.model is None else model.model.centres_KD,
            on_progress=on_progress,
        )

    if ssl_model is None or ssl_layer_num is None:
        if isinstance(train_set, Iterator):
            raise InputError(
                "the loader can be iterated only once, but k-means needs several passes",
                hint="write its rows to files with sdpn.kmeans.chunks.write_chunks",
            )
        found = fit(_chunks(train_set))
    else:
        from sdpn.kmeans.layer_features import ssl_rows

        rows = (
            ssl_rows(batch, ssl_model, ssl_layer_num, device, feature_axis=feature_axis)
            for batch in train_set
        )
        with _row_folder(save_path) as folder:
            found = fit([open_chunk(path) for path in write_chunks(rows, folder)])
    model.model = found.model
    return found


@contextmanager
def _row_folder(save_path: str | os.PathLike[str] | None) -> Iterator[Path]:
    """A temporary folder for rows; with a state its name is fixed, since the state refers to it."""
    if save_path is None:
        with tempfile.TemporaryDirectory(prefix="sdpn-kmeans-") as temporary:
            yield Path(temporary) / "rows"
        return
    folder = Path(f"{os.fspath(save_path)}.rows")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def save_model(kmeans: StreamingKMeans, checkpoint_path: str | os.PathLike[str]) -> None:
    """Write the model as ``.npz`` or ``.safetensors``, which, unlike joblib files, cannot contain code.

    Raises:
        InputError: the model is not trained, another suffix, or the file cannot be written.
    """
    kmeans._trained().save(checkpoint_path)


def _chunks(loader: Iterable[Any]) -> Sequence[Chunk]:
    if isinstance(loader, Sequence) and loader:
        if all(isinstance(item, Chunk) for item in loader):
            return loader
        if all(isinstance(item, str | os.PathLike) for item in loader):
            return [open_chunk(item) for item in loader]
    return [IterableChunk(name="the loader", pieces=lambda: loader)]
