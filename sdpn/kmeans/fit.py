"""Training of streaming k-means: survey, initialisation, mini-batch epochs, Lloyd passes, and resuming.

Shapes: K centres, D dimensions, M rows of the sample, H held-out rows.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from sdpn.config import to_dict
from sdpn.errors import InputError
from sdpn.io.arrays import read_npz
from sdpn.io.atomic import atomic_path
from sdpn.io.json_text import parse_json
from sdpn.io.parsing import parsing
from sdpn.kmeans.chunks import Chunk
from sdpn.kmeans.minibatch import InitialCentres, MiniBatches, initial_centres
from sdpn.kmeans.model import KMeansModel, Space, import_faiss, nearest, sums_by_label, to_length_1
from sdpn.kmeans.settings import StreamSettings
from sdpn.kmeans.survey import Moments, Stream, Survey

_HEADER = "header"


def save_state(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write nested dictionaries of arrays and JSON values.

    Raises:
        InputError: the file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    header = _without_arrays(state, "", arrays)
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as stream:
            np.savez(stream, allow_pickle=False, **{_HEADER: np.array(json.dumps(header))}, **arrays)


def load_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a state written by `save_state`.

    Raises:
        InputError: the file is missing or incomplete.
    """
    with parsing(path, "is not a complete saved state", hint="move it away to start from the beginning"):
        arrays = read_npz(path)
        state = parse_json(str(arrays.pop(_HEADER)), "header of a saved state", path=path)
        for name, array in arrays.items():
            *sections, last = name.split("/")
            place = state
            for section in sections:
                place = place[section]
            place[last] = array
    return state


def remove_state(path: str | os.PathLike[str]) -> None:
    """Remove a state, if there is one."""
    Path(path).unlink(missing_ok=True)


def _without_arrays(values: dict[str, Any], prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the JSON values; arrays are moved to ``arrays`` under their path."""
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, np.ndarray):
            arrays[f"{prefix}{key}"] = value
        elif isinstance(value, dict):
            plain[key] = _without_arrays(value, f"{prefix}{key}/", arrays)
        else:
            plain[key] = value
    return plain


class LloydPass:
    """One pass of Lloyd's algorithm: assigns all rows to the nearest centres, then updates these.

    Args:
        centres_KD: float32, fixed during the pass.
        settings: as the user gave them.
    """

    def __init__(self, centres_KD: np.ndarray, settings: StreamSettings) -> None:
        self._settings = settings
        self.centres_KD = centres_KD
        self._sums_KD = np.zeros(centres_KD.shape)
        self._counts_K = np.zeros(len(centres_KD), dtype=np.int64)
        self.inertia = 0.0

    def add(self, batch_BD: np.ndarray) -> None:
        """Assign the rows of a batch."""
        labels_B, squares_B = nearest(batch_BD, self.centres_KD, backend=self._settings.backend)
        self._sums_KD += sums_by_label(batch_BD, labels_B, len(self.centres_KD))
        self._counts_K += np.bincount(labels_B, minlength=len(self.centres_KD))
        self.inertia += float(squares_B.sum(dtype=np.float64))

    @property
    def num_rows(self) -> int:
        """Number of rows assigned so far."""
        return int(self._counts_K.sum())

    def updated_centres(self) -> np.ndarray:
        """The centres (K, D) float32 after the pass; centres without rows are unchanged."""
        means_KD = self._sums_KD / np.maximum(self._counts_K, 1)[:, None]
        moved_KD = np.where(self._counts_K[:, None] > 0, means_KD, self.centres_KD)
        if self._settings.spherical:
            to_length_1(moved_KD)
        return moved_KD.astype(np.float32)

    def state(self) -> dict[str, Any]:
        """State for `restore`."""
        return {
            "centres": self.centres_KD,
            "sums": self._sums_KD,
            "counts": self._counts_K,
            "inertia": self.inertia,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        self.centres_KD, self._sums_KD = state["centres"], state["sums"]
        self._counts_K, self.inertia = state["counts"], state["inertia"]


T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FitProgress:
    """Progress of training.

    Attributes:
        stage: ``survey``, ``epochs`` (of mini-batches) or ``lloyd``.
        number: number of the epoch or pass, from 1.
        done: chunks (survey) or rows of this epoch or pass done.
        total: their total number.
        inertia: mean squared distance of rows to their centres, smoothed over an epoch; None in the survey.
    """

    stage: Literal["survey", "epochs", "lloyd"]
    number: int
    done: int
    total: int
    inertia: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """Result of `fit_stream`.

    Attributes:
        model: the trained model.
        num_rows: rows of the stream.
        rows_per_pass: rows processed in each epoch, then in each Lloyd pass.
        epochs: number of epochs.
        history_T2: rows processed and smoothed mean inertia, after each batch.
        held_out: mean inertia of the held-out rows, after each epoch.
    """

    model: KMeansModel
    num_rows: int
    rows_per_pass: tuple[int, ...]
    epochs: int
    history_T2: np.ndarray
    held_out: tuple[float, ...]


def fit_stream(
    chunks: Sequence[Chunk],
    settings: StreamSettings,
    *,
    state: str | os.PathLike[str] | None = None,
    save_every_s: float = 60.0,
    centres_KD: np.ndarray | None = None,
    on_progress: Callable[[FitProgress], None] | None = None,
) -> Fit:
    """Cluster the rows of all chunks, neither all nor any of which need to fit in memory.

    A first pass surveys the data (`Survey`); mini-batch epochs follow, each with another order of the chunks;
    then exact Lloyd passes, if requested. Every row is used once in every pass: training stops only between
    passes.

    Args:
        chunks: the data, read again in each pass.
        settings: settings of the training.
        state: file to resume from, if it exists, and to save to: every ``save_every_s`` seconds, when a
            chunk cannot be read, and at the end. A resumed run gives the same centres bit for bit (with the
            same library versions and threads).
        save_every_s: seconds between two saves.
        centres_KD: initial centres in input space; override ``init``.
        on_progress: called after each block or batch.

    Raises:
        InputError: invalid rows (`sdpn.kmeans.chunks.checked_blocks`), no chunks, a chunk without rows, fewer
            distinct rows than clusters, centres of another shape, or a state of another run.
    """
    if settings.backend == "faiss":
        import_faiss()  # fails early if it is missing
    return _Run(chunks, settings, state, save_every_s, centres_KD, on_progress).fit()


class _Run:
    """A run of `fit_stream`: its parts and their saved state."""

    def __init__(
        self,
        chunks: Sequence[Chunk],
        settings: StreamSettings,
        state: str | os.PathLike[str] | None,
        save_every_s: float,
        given_KD: np.ndarray | None,
        on_progress: Callable[[FitProgress], None] | None,
    ) -> None:
        self._settings = settings
        self._given_KD = given_KD
        self._on_progress = on_progress
        self._path = None if state is None else Path(state)
        self._save_every_s = save_every_s
        self._identity = {
            "settings": to_dict(settings),
            "chunks": [chunk.name for chunk in chunks],
            "start": None if given_KD is None else hashlib.sha256(np.float64(given_KD).tobytes()).hexdigest(),
        }
        self._num_chunks = len(chunks)
        self._survey = Survey(chunks, settings)
        self._resumed = self._load()
        self._saved_at = time.monotonic()
        self._rows_per_pass: list[int] = self._resumed.get("rows_per_pass", [])
        self._held_out: list[float] = self._resumed.get("held_out", [])
        self._history: list[list[float]] = self._resumed.get("history", [])
        self._epochs = self._resumed.get("epochs", 0)
        #: state of the current stage, for `_save`
        self._stage_state: Callable[[], dict[str, Any]] = dict

    def fit(self) -> Fit:
        stage = self._resumed.get("stage", "survey")
        if stage == "survey":
            self._take_survey()
        stream, moments = self._survey.stream()
        self._check_given_centres(stream)
        space = Space.of(moments, standardise=self._settings.standardise, spherical=self._settings.spherical)
        sample_MD = space.enter(self._survey.sample.rows_MD.copy())
        if stage == "done":
            centres_KD: np.ndarray = self._resumed["done"]["centres"]
        else:
            if stage == "lloyd":
                centres_KD = self._resumed["lloyd"]["pass"]["centres"]
            else:
                centres_KD = self._mini_batches(stream, space, sample_MD)
            centres_KD = self._lloyd(stream, space, centres_KD, sample_MD)
            self._stage_state = lambda: {"stage": "done", "done": {"centres": centres_KD}}
            self._save()
        model = KMeansModel(space.leave(centres_KD), space, self._source(stream, moments))
        return Fit(
            model=model,
            num_rows=stream.num_rows,
            rows_per_pass=tuple(self._rows_per_pass),
            epochs=self._epochs,
            history_T2=np.array(self._history).reshape(-1, 2),
            held_out=tuple(self._held_out),
        )

    def _take_survey(self) -> None:
        self._stage_state = lambda: {"stage": "survey"}
        num_chunks = self._num_chunks
        for done in self._saving(self._survey.read()):
            self._save_if_due()
            self._report_progress("survey", 1, done, num_chunks, None)
        self._report_progress("survey", 1, num_chunks, num_chunks, None)

    def _mini_batches(self, stream: Stream, space: Space, sample_MD: np.ndarray) -> np.ndarray:
        """Mini-batch epochs; returns the centres with the lowest inertia on held-out rows."""
        settings = self._settings
        held_out_HD = sample_MD
        if stream.num_rows > settings.sample_size:
            cut = len(sample_MD) - len(sample_MD) // 5
            sample_MD, held_out_HD = sample_MD[:cut], sample_MD[cut:]
        batch_rows = settings.batch_rows(stream.dimension, stream.num_rows)
        variance = float(sample_MD.var(axis=0, dtype=np.float64).mean())
        if self._resumed.get("stage") == "epochs":
            now = self._resumed["epochs_stage"]
            centres_KD = now["best"]
            batches = MiniBatches(InitialCentres(centres_KD, np.ones(len(centres_KD))), settings)
            batches.restore(now["batches"])
        else:
            given_KD = None if self._given_KD is None else space.enter_centres(self._given_KD)
            start = initial_centres(sample_MD, held_out_HD, settings, given_KD)
            batches = MiniBatches(start, settings)
            now = {"position": 0, "recent": [], "best": start.centres_KD, "lowest": None,
                   "without_gain": 0, "before": start.centres_KD, "finished": False}  # fmt: skip
        self._stage_state = lambda: {"stage": "epochs", "epochs_stage": {**now, "batches": batches.state()}}
        num_batches = -(-stream.num_rows // batch_rows)
        while self._epochs < settings.max_iter and not now["finished"]:
            order = stream.epoch_order(settings.seed, self._epochs)
            for batch_BD in self._saving(stream.batches(order, position=now["position"], size=batch_rows)):
                if now["position"] == 0:  # and not before the batch is there: it might have to be read again
                    batches.begin_epoch()
                    now["before"] = batches.centres_KD.copy()
                inertia = batches.step(space.enter(batch_BD))
                smoothed = _smoothed(now["recent"], len(batch_BD), inertia, num_batches)
                now["position"] += len(batch_BD)
                seen = self._epochs * stream.num_rows + now["position"]
                self._history.append([float(seen), smoothed])
                if now["position"] < stream.num_rows:  # or it is saved after what an epoch ends with
                    self._save_if_due()
                self._report_progress("epochs", self._epochs + 1, now["position"], stream.num_rows, smoothed)
            self._rows_per_pass.append(now["position"])
            self._epochs += 1
            now["finished"] = self._has_converged(now, batches.centres_KD, held_out_HD, variance, num_batches)
            now["position"] = 0
            self._save_if_due()
        best_KD: np.ndarray = now["best"]
        return best_KD

    def _has_converged(
        self,
        now: dict[str, Any],
        centres_KD: np.ndarray,
        held_out_HD: np.ndarray,
        variance: float,
        num_batches: int,
    ) -> bool:
        """Keep the best centres so far; whether to stop according to ``tol`` or ``max_no_improvement``."""
        settings = self._settings
        held_out = float(nearest(held_out_HD, centres_KD, backend=settings.backend)[1].mean(dtype=np.float64))
        self._held_out.append(held_out)
        if now["lowest"] is None or held_out < now["lowest"]:
            now["best"], now["lowest"], now["without_gain"] = centres_KD.copy(), held_out, 0
        else:
            now["without_gain"] += num_batches
        moved = float(np.square(centres_KD - now["before"], dtype=np.float64).sum())
        if settings.tol > 0 and moved <= settings.tol * variance:
            _log.info(
                "k-means: stopping after epoch %d, which moved the centres by less than tol", self._epochs
            )
            return True
        patience = settings.max_no_improvement
        if patience is not None and now["without_gain"] >= patience:
            _log.info(
                "k-means: stopping after epoch %d, since inertia on held-out rows no longer decreases",
                self._epochs,
            )
            return True
        return False

    def _lloyd(
        self, stream: Stream, space: Space, centres_KD: np.ndarray, sample_MD: np.ndarray
    ) -> np.ndarray:
        settings = self._settings
        variance = float(sample_MD.var(axis=0, dtype=np.float64).mean())
        batch_rows = settings.batch_rows(stream.dimension, stream.num_rows)
        current = LloydPass(centres_KD, settings)
        first = 0
        if self._resumed.get("stage") == "lloyd":
            first = self._resumed["lloyd"]["number"]
            current.restore(self._resumed["lloyd"]["pass"])
        order = range(len(stream.chunks))
        for number in range(first, settings.lloyd_passes):
            self._stage_state = lambda number=number, current=current: {  # type: ignore[misc]
                "stage": "lloyd",
                "lloyd": {"number": number, "pass": current.state()},
            }
            for batch_BD in self._saving(stream.batches(order, position=current.num_rows, size=batch_rows)):
                current.add(space.enter(batch_BD))
                self._save_if_due()
                inertia = current.inertia / current.num_rows
                self._report_progress("lloyd", number + 1, current.num_rows, stream.num_rows, inertia)
            self._rows_per_pass.append(current.num_rows)
            moved_KD = current.updated_centres()
            moved = float(np.square(moved_KD - centres_KD, dtype=np.float64).sum())
            centres_KD, current = moved_KD, LloydPass(moved_KD, settings)
            if moved <= settings.tol * variance:
                _log.info("k-means: converged after Lloyd pass %d", number + 1)
                break
        return centres_KD

    def _check_given_centres(self, stream: Stream) -> None:
        wanted = (self._settings.n_clusters, stream.dimension)
        if self._given_KD is not None and self._given_KD.shape != wanted:
            raise InputError(f"the initial centres have shape {self._given_KD.shape}; expected {wanted}")

    def _source(self, stream: Stream, moments: Moments) -> dict[str, Any]:
        return {
            "settings": self._identity["settings"],
            "num_rows": stream.num_rows,
            "num_chunks": len(stream.chunks),
            "epochs": self._epochs,
            "lloyd_passes": len(self._rows_per_pass) - self._epochs,
            "variance": float(moments.variance_D.sum()),
        }

    def _report_progress(self, stage: Any, number: int, done: int, total: int, inertia: float | None) -> None:
        if self._on_progress is not None:
            self._on_progress(
                FitProgress(stage=stage, number=number, done=done, total=total, inertia=inertia)
            )

    def _load(self) -> dict[str, Any]:
        if self._path is None or not self._path.exists():
            return {}
        state = load_state(self._path)
        changed = [
            key for key, value in self._identity.items() if state.get("identity", {}).get(key) != value
        ]
        if changed:
            raise InputError(
                f"was saved by a run with different {' and '.join(changed)}",
                path=self._path,
                hint="use the same ones to resume, or move the file away to start from the beginning",
            )
        self._survey.restore(state["survey"])
        _log.info("k-means: resuming from %s (%s)", self._path, state["stage"])
        return state

    def _save(self) -> None:
        if self._path is None:
            return
        save_state(
            self._path,
            {
                "identity": self._identity,
                "survey": self._survey.state(),
                "rows_per_pass": self._rows_per_pass,
                "held_out": self._held_out,
                "history": self._history,
                "epochs": self._epochs,
                **self._stage_state(),
            },
        )
        self._saved_at = time.monotonic()

    def _save_if_due(self) -> None:
        if time.monotonic() - self._saved_at >= self._save_every_s:
            self._save()

    def _saving(self, items: Iterable[T]) -> Iterator[T]:
        """Yield ``items``; if getting the next one fails, save the state first.

        The state is only consistent at that point: an interrupt within a step loses the work since the last
        save.
        """
        iterator = iter(items)
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                return
            except BaseException:
                self._save()
                raise
            yield item


def _smoothed(recent: list[list[float]], num_rows: int, inertia: float, num_batches: int) -> float:
    """Mean inertia over the batches of the last epoch's length.

    scikit-learn's exponential mean assumes rows in random order; here it would vary from chunk to chunk.

    Args:
        recent: cumulative rows and inertia of these batches; updated in place.
        num_rows: rows of the new batch.
        inertia: its mean inertia.
        num_batches: batches per epoch.
    """
    rows, total = recent[-1] if recent else (0.0, 0.0)
    recent.append([rows + num_rows, total + num_rows * inertia])
    if len(recent) > num_batches + 1:
        del recent[0]
    first_rows, first_total = recent[0] if len(recent) > num_batches else (0.0, 0.0)
    return (recent[-1][1] - first_total) / (recent[-1][0] - first_rows)
