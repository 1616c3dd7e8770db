"""Layer outputs for a corpus, as chunks on disk for k-means.

Utterances are processed one at a time, so that rows depend neither on batches nor on padding; long ones are
divided into the clips of `sdpn.extraction.clips`. An interrupted extraction resumes after the last complete
chunk.

Shapes: T frames, D features of the layer, N rows, F features of the network's input, S samples.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sdpn.errors import InputError
from sdpn.extraction.part import signature
from sdpn.extraction.reader import ReadClip, read_ahead
from sdpn.extraction.settings import fingerprint
from sdpn.io.atomic import atomic_path, atomic_write_text
from sdpn.io.audio import RATE_HZ
from sdpn.io.json_text import read_json
from sdpn.io.kaldi import Utterance
from sdpn.io.parsing import parsing
from sdpn.kmeans.chunks import NamedNpyChunk
from sdpn.kmeans.layer_features import find_layer, frame_rows, layer_output
from sdpn.models.embedder import Embedder, long_enough

_log = logging.getLogger(__name__)

#: Size from which a chunk is written; it exceeds this by up to the rows of one clip.
_CHUNK_BYTES = 64_000_000
#: Two lengths of noise, in seconds, for finding the time axis of an output.
_PROBES_S = (1.0, 1.5)


class LayerChunks(NamedTuple):
    """Result of `extract_layer`.

    Attributes:
        chunks: in the order of the utterances.
        layer: name of the layer.
        frames: whether rows are frames; otherwise they are utterances.
        failed: utterances that were left out.
    """

    chunks: list[NamedNpyChunk]
    layer: str
    frames: bool
    failed: int


class _Piece(NamedTuple):
    """Consecutive rows: of a clip, or of an utterance if the layer has no time axis.

    Attributes:
        id: id of the utterance.
        clip: index of its last clip, from 0.
        num_clips: number of clips of the utterance.
        rows_ND: (N, D) float32.
    """

    id: str
    clip: int
    num_clips: int
    rows_ND: np.ndarray


@dataclass(kw_only=True)
class _Layer:
    """A model up to one of its layers.

    Attributes:
        model: the network.
        name: the layer.
        feature_axis: feature axis of its output, as in `frame_rows`; None without a time axis.
        dimension: layer dimension D.
    """

    model: Embedder
    name: str
    feature_axis: int | None = field(init=False)
    dimension: int = field(init=False)

    def __post_init__(self) -> None:
        """Determine the time axis."""
        rng = np.random.default_rng(0)
        probes = [rng.uniform(-0.1, 0.1, int(seconds * RATE_HZ)).astype(np.float32) for seconds in _PROBES_S]
        short, long = (tuple(self._output(probe).shape) for probe in probes)
        changing = [axis for axis, sizes in enumerate(zip(short, long, strict=False)) if len(set(sizes)) > 1]
        axes = len(short) if len(short) == len(long) else 0
        if axes and not changing:
            self.feature_axis = None
        elif axes in (3, 4) and changing == [axes - 1]:
            self.feature_axis = 1
        elif axes == 3 and changing == [1]:
            self.feature_axis = 2
        else:
            raise InputError(
                f"layer {self.name!r} outputs {short} for {_PROBES_S[0]:g} s of audio and {long} for "
                f"{_PROBES_S[1]:g} s: no axis of features and one of time",
                hint="choose the layer before or after it",
            )
        self.dimension = self.rows(probes[0]).shape[1]

    def rows(self, wave_S: np.ndarray) -> np.ndarray:
        """Compute rows (N, D) float32 from samples at 16 kHz."""
        output = self._output(long_enough(wave_S))
        if self.feature_axis is None:
            return output.flatten().unsqueeze(0).float().cpu().numpy()
        return frame_rows(output, None, f"layer {self.name!r}", self.feature_axis)

    def _output(self, wave_S: np.ndarray) -> torch.Tensor:
        with torch.inference_mode():
            features_1FT = self.model.features(torch.from_numpy(wave_S).unsqueeze(0).to(self.model.device))
        output = layer_output(self.model.encoder, self.name, features_1FT)
        if not isinstance(output, torch.Tensor):
            raise InputError(f"layer {self.name!r} outputs {type(output).__name__}; expected a tensor")
        return output


def extract_layer(
    model: Embedder,
    layer: str | int,
    utterances: Sequence[Utterance],
    folder: str | os.PathLike[str],
    *,
    dimension: int | None = None,
    readers: int = 1,
    skip_bad: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> LayerChunks:
    """Write the outputs of a layer for every utterance to chunks; resumable.

    Memory holds one chunk (64 MB) and one clip, for a corpus of any size.

    Args:
        model: the model, whose encoder has the layer.
        layer: name or number, see `sdpn.kmeans.layer_features.find_layer`.
        utterances: the corpus, with unique ids.
        folder: folder of the chunks. Chunks of an interrupted call are kept.
        dimension: required dimension of the rows; None accepts any.
        readers: number of reader threads.
        skip_bad: leave out utterances that cannot be read, with a warning.
        on_progress: called with (utterances done, total).

    Raises:
        InputError: no such layer, an output without rows, or rows of another dimension; an utterance cannot
            be read, or the output for it is not finite; the folder contains chunks of another model, layer or
            corpus, or no utterance could be read.
    """
    folder = Path(folder)
    name = find_layer(model.encoder, layer)
    applied = _Layer(model=model, name=name)
    if dimension is not None and applied.dimension != dimension:
        raise InputError(f"rows of layer {name!r} have {applied.dimension} dimensions; expected {dimension}")
    _agree(folder, model, name, utterances)
    places = {utterance.id: place for place, utterance in enumerate(utterances)}
    chunks, last = _whole_chunks(folder, places)
    failed = 0
    first, clips_done = 0, 0
    if last is not None:
        first = places[last.id]
        clips_done = last.clip + 1
        if clips_done == last.num_clips:
            first, clips_done = first + 1, 0
        _log.info("layer %s: resuming after utterance %d of %d", name, first, len(utterances))

    def clips() -> Iterator[ReadClip]:
        nonlocal failed
        bad = ""
        for one in read_ahead(utterances[first:], threads=readers):
            if one.error is not None and one.utterance.id != bad:
                if not skip_bad:
                    raise InputError(
                        one.error.message, path=one.error.path, hint="--skip-bad skips unreadable recordings"
                    )
                _log.warning("left out: %s", one.error)
                bad, failed = one.utterance.id, failed + 1
            elif one.error is None and one.utterance.id != bad:
                yield one
                on_progress(places[one.utterance.id] + (one.number + 1 == one.num_clips), len(utterances))

    waiting: list[_Piece] = []
    held = 0
    for piece in _pieces(applied, clips(), utterances[first].id if clips_done else "", clips_done):
        waiting.append(piece)
        held += piece.rows_ND.nbytes
        if held >= _CHUNK_BYTES:
            chunks.append(_write(folder, len(chunks), waiting))
            waiting, held = [], 0
    if waiting:
        chunks.append(_write(folder, len(chunks), waiting))
    if not chunks:
        raise InputError("no utterance could be read", hint="see the warnings for the reasons")
    on_progress(len(utterances), len(utterances))
    return LayerChunks(chunks, name, applied.feature_axis is not None, failed)


def _pieces(layer: _Layer, clips: Iterator[ReadClip], begun: str, clips_done: int) -> Iterator[_Piece]:
    """Compute rows of clips; without a time axis, the mean over the (equally long) clips of an utterance.

    Args:
        layer: the layer.
        clips: clips in order.
        begun: id of the utterance whose first clips are already in a chunk.
        clips_done: number of these clips.
    """
    sums: list[np.ndarray] = []
    for one in clips:
        if one.utterance.id == begun and one.number < clips_done:
            continue
        rows_ND = layer.rows(one.wave_S)
        if not np.isfinite(rows_ND).all():
            raise InputError(
                f"utterance {one.utterance.id!r}: the output of layer {layer.name!r} is NaN or infinite",
                path=one.utterance.path,
            )
        if layer.feature_axis is None:
            sums = [rows_ND] if one.number == 0 else [*sums, rows_ND]
            if len(sums) < one.num_clips:
                continue
            rows_ND = np.mean(sums, axis=0)
        yield _Piece(one.utterance.id, one.number, one.num_clips, rows_ND)


def _agree(folder: Path, model: Embedder, layer: str, utterances: Sequence[Utterance]) -> None:
    """Store the settings of the chunks, or check that they are unchanged."""
    data = hashlib.sha256()
    for utterance in utterances:
        data.update(f"{utterance.id} {signature(utterance)}\n".encode(errors="surrogateescape"))
    ours = {"model": fingerprint(model), "layer": layer, "data": data.hexdigest()[:16]}
    path = folder / "settings.json"
    if not path.exists():
        atomic_write_text(path, json.dumps(ours, indent=2) + "\n")
        return
    found = read_json(path, "settings of the rows of a layer")
    other = [key for key, value in ours.items() if not isinstance(found, dict) or found.get(key) != value]
    if other:
        raise InputError(
            f"contains rows of another {' and another '.join(other)}",
            path=folder,
            hint="choose another folder, or remove this one",
        )


def _write(folder: Path, number: int, pieces: Sequence[_Piece]) -> NamedNpyChunk:
    """Write a chunk; its matrix, written last, marks it as complete."""
    path = folder / f"{number:05d}.npy"
    lines = (f"{piece.id} {piece.clip} {piece.num_clips} {len(piece.rows_ND)}\n" for piece in pieces)
    atomic_write_text(path.with_suffix(".index"), "".join(lines))
    with atomic_path(path) as temporary:
        np.save(temporary, np.concatenate([piece.rows_ND for piece in pieces]), allow_pickle=False)
    return _chunk(path, [(piece.id, len(piece.rows_ND)) for piece in pieces])


def _chunk(path: Path, rows: Sequence[tuple[str, int]]) -> NamedNpyChunk:
    return NamedNpyChunk(
        name=str(path), ids=tuple(key for key, _ in rows), counts=tuple(count for _, count in rows)
    )


class _Entry(NamedTuple):
    """A line of an index; see `_Piece`."""

    id: str
    clip: int
    num_clips: int


def _whole_chunks(folder: Path, places: dict[str, int]) -> tuple[list[NamedNpyChunk], _Entry | None]:
    """Complete chunks, and the position after each."""
    chunks: list[NamedNpyChunk] = []
    last: _Entry | None = None
    while (path := folder / f"{len(chunks):05d}.npy").exists():
        rows: list[tuple[str, int]] = []
        index = path.with_suffix(".index")
        with parsing(index, "is not a chunk index", hint="remove the folder to start from the beginning"):
            for line in index.read_text(encoding="utf-8").splitlines():
                key, clip, num_clips, count = line.split()
                if key not in places:
                    raise ValueError(f"unknown utterance {key!r}")
                rows.append((key, int(count)))
                last = _Entry(key, int(clip), int(num_clips))
        chunks.append(_chunk(path, rows))
    return chunks, last
