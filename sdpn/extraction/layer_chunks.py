"""Layer outputs for a corpus, as chunks on disk for k-means.

Utterances go through the network in batches of similar lengths, with their true lengths, and long ones in the
clips of `sdpn.extraction.clips`. The rows are those of each utterance alone, to rounding; a layer for which
that does not hold is applied to one utterance at a time. A chunk is written as soon as it is full; work that
was killed continues after the last complete chunk, in the same batches.

Shapes: T frames, D features of the layer, N rows, F features of the network's input, S samples.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sdpn.errors import InputError
from sdpn.extraction.part import signature
from sdpn.extraction.reader import ReadClip, read_ahead
from sdpn.io.atomic import atomic_path, atomic_write_text
from sdpn.io.audio import RATE_HZ
from sdpn.io.json_text import read_json
from sdpn.io.kaldi import Utterance
from sdpn.io.parsing import parsing
from sdpn.kmeans.chunks import NamedNpyChunk
from sdpn.kmeans.layer_features import find_layer, frame_rows, layer_output
from sdpn.models.batching import SECONDS_AT_ONCE, UTTERANCES_AT_ONCE, batches_by_length
from sdpn.models.embedder import Embedder, long_enough

_log = logging.getLogger(__name__)

#: Size from which a chunk is written; it exceeds this by up to the rows of one clip.
_CHUNK_BYTES = 64_000_000
#: Two lengths of noise, in seconds, for finding the time axis of an output.
_PROBES_S = (1.0, 1.5)
#: Frames at the input of the network that show how many a layer gives for any number of them.
_PROBED_FRAMES = range(40, 57)
#: Longest stride of a layer that these can detect.
_LONGEST_STRIDE = 8
#: Clips that are sorted by length before they are batched, in seconds: the more, the less padding.
_GATHERED_S = (12.0, 240.0)
#: Largest difference between rows of a batch and of utterances alone, as a share of the largest value.
_ROUNDING = 1e-4


def _strided(num: int, *, stride: int, shift: int, rest: int) -> int:
    return (num + shift) // stride + rest


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
        feature_axis: of its output, as in `frame_rows`; None: one row per utterance.
        dimension: D.
        gathered: samples from which on clips are sorted by length and batched.
    """

    model: Embedder
    name: str
    feature_axis: int | None = field(init=False)
    dimension: int = field(init=False)
    gathered: int = field(init=False)
    _frames_of: Callable[[int], int] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Find out which axis is time, and whether batches give the rows of each utterance."""
        rng = np.random.default_rng(0)
        probes = [rng.uniform(-0.1, 0.1, int(seconds * RATE_HZ)).astype(np.float32) for seconds in _PROBES_S]
        short, long = (tuple(self._output([probe])[0].shape) for probe in probes)
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
        alone = [self._alone(probe) for probe in probes]
        self.dimension = alone[0].shape[1]
        least_s, most_s = _GATHERED_S
        bytes_per_s = alone[0].nbytes / _PROBES_S[0]
        self.gathered = round(RATE_HZ * min(max(_CHUNK_BYTES / bytes_per_s, least_s), most_s))
        self._frames_of = self._count_frames()
        if self._frames_of is not None and not self._batches_agree(probes, alone):
            _log.info("layer %s: batches differ from utterances alone; one at a time", self.name)
            self._frames_of = None

    def rows(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Rows (N, D) float32 of each of several utterances, given by samples (S,) at 16 kHz."""
        device = self.model.device.type
        batches = batches_by_length(
            [len(long_enough(wave_S)) for wave_S in waves],
            samples=round(SECONDS_AT_ONCE.get(device, SECONDS_AT_ONCE["cpu"]) * RATE_HZ),
            utterances=UTTERANCES_AT_ONCE.get(device, UTTERANCES_AT_ONCE["cpu"]),
        )
        found: dict[int, np.ndarray] = {}
        for batch in batches:
            if self._frames_of is None or len(batch) == 1:
                found |= {index: self._alone(waves[index]) for index in batch}
            else:
                found |= zip(batch, self._together([waves[index] for index in batch]), strict=True)
        return [found[index] for index in range(len(waves))]

    def _alone(self, wave_S: np.ndarray) -> np.ndarray:
        output, _ = self._output([long_enough(wave_S)])
        return self._rows_of(output)

    def _together(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Rows of each utterance of a batch, without those of its padding."""
        assert self._frames_of is not None
        output, frames = self._output([long_enough(wave_S) for wave_S in waves])
        if len(output) != len(waves):
            raise InputError(f"layer {self.name!r} gives {len(output)} items for {len(waves)} utterances")
        each = [self._rows_of(item.unsqueeze(0)) for item in output]
        if self.feature_axis is None:
            return each
        return [rows_ND[: self._frames_of(count)] for rows_ND, count in zip(each, frames, strict=True)]

    def _rows_of(self, output: torch.Tensor) -> np.ndarray:
        """Rows of a batch of one."""
        if self.feature_axis is None:
            return output.flatten().unsqueeze(0).float().cpu().numpy()
        return frame_rows(output, None, f"layer {self.name!r}", self.feature_axis)

    def _output(self, waves: Sequence[np.ndarray]) -> tuple[torch.Tensor, list[int]]:
        """The output of the layer for a batch, and the frames of each utterance at the network's input."""
        lengths = [len(wave_S) for wave_S in waves]
        padded_BS = np.zeros((len(waves), max(lengths)), dtype=np.float32)
        for row, wave_S in zip(padded_BS, waves, strict=True):
            row[: len(wave_S)] = wave_S
        device = self.model.device
        lengths_B = torch.tensor(lengths, device=device)
        inputs: list[torch.Tensor | None] = []
        with torch.inference_mode():
            if min(lengths) == max(lengths):  # as alone, without masks
                inputs = [self.model.features(torch.from_numpy(padded_BS).to(device))]
            else:
                inputs = [
                    self.model.features(torch.from_numpy(padded_BS).to(device), lengths_B),
                    self.model.features.frame_lengths(lengths_B),
                ]
            frames_B = self.model.features.frame_lengths(lengths_B)
        return self._applied(*inputs), frames_B.tolist()

    def _applied(self, *inputs: torch.Tensor | None) -> torch.Tensor:
        output = layer_output(self.model.encoder, self.name, *inputs)
        if not isinstance(output, torch.Tensor):
            raise InputError(f"layer {self.name!r} outputs {type(output).__name__}; expected a tensor")
        return output

    def _count_frames(self) -> Callable[[int], int] | None:
        """How many frames the layer gives for so many at the input of the network; None: no simple rule."""
        if self.feature_axis is None:
            return lambda _: 1
        features_1FT = self.model.features(torch.zeros(1, RATE_HZ, device=self.model.device))
        axis = 1 if self.feature_axis == 2 else -1
        counts = {
            num: self._applied(features_1FT[..., :1].expand(-1, -1, num).contiguous()).shape[axis]
            for num in _PROBED_FRAMES
        }
        first = _PROBED_FRAMES[0]
        for stride in range(1, _LONGEST_STRIDE + 1):
            for shift in range(stride):
                rest = counts[first] - (first + shift) // stride
                if all((num + shift) // stride + rest == count for num, count in counts.items()):
                    return partial(_strided, stride=stride, shift=shift, rest=rest)
        return None

    def _batches_agree(self, probes: Sequence[np.ndarray], alone: Sequence[np.ndarray]) -> bool:
        """Whether rows of a padded batch are those of its utterances alone."""
        try:
            together = self._together(probes)
        except InputError:
            return False
        return all(
            batched.shape == single.shape
            and np.abs(batched - single).max() <= _ROUNDING * np.abs(single).max()
            for batched, single in zip(together, alone, strict=True)
        )


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

    Memory holds a chunk (64 MB), and audio and rows of some minutes, however large the corpus.

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
    for pieces in _pieces(applied, clips(), utterances[first].id if clips_done else "", clips_done):
        waiting += pieces
        held += sum(piece.rows_ND.nbytes for piece in pieces)
        if held >= _CHUNK_BYTES:  # between batches only, so that a resumed run has the same ones
            chunks.append(_write(folder, len(chunks), waiting))
            waiting, held = [], 0
    if waiting:
        chunks.append(_write(folder, len(chunks), waiting))
    if not chunks:
        raise InputError("no utterance could be read", hint="see the warnings for the reasons")
    on_progress(len(utterances), len(utterances))
    return LayerChunks(chunks, name, applied.feature_axis is not None, failed)


def _pieces(layer: _Layer, clips: Iterator[ReadClip], begun: str, clips_done: int) -> Iterator[list[_Piece]]:
    """The rows of clips; of what has no time, the mean over an utterance's clips, which are equally long.

    Args:
        layer: what gives them.
        clips: clips in order.
        begun: an utterance whose first clips are in a chunk already.
        clips_done: how many of them.

    Yields:
        the pieces of clips that were batched together. Which these are depends on the clips from any such
        group on, not on those before it: work resumed after a group makes the same batches.
    """
    sums: list[np.ndarray] = []
    clips = (one for one in clips if one.utterance.id != begun or one.number >= clips_done)
    for group in _groups(layer, clips):
        pieces: list[_Piece] = []
        for one, rows_ND in zip(group, layer.rows([one.wave_S for one in group]), strict=True):
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
            pieces.append(_Piece(one.utterance.id, one.number, one.num_clips, rows_ND))
        yield pieces


def _groups(layer: _Layer, clips: Iterator[ReadClip]) -> Iterator[list[ReadClip]]:
    """Clips to be batched; an utterance of several clips shares no group with others."""
    group: list[ReadClip] = []
    held = 0
    for one in clips:
        if group and one.num_clips > 1 and one.number == 0:
            yield group
            group, held = [], 0
        group.append(one)
        held += len(one.wave_S)
        if held >= layer.gathered or one.number + 1 == one.num_clips > 1:
            yield group
            group, held = [], 0
    if group:
        yield group


def _agree(folder: Path, model: Embedder, layer: str, utterances: Sequence[Utterance]) -> None:
    """Store the settings of the chunks, or check that they are unchanged."""
    data = hashlib.sha256()
    for utterance in utterances:
        data.update(f"{utterance.id} {signature(utterance)}\n".encode(errors="surrogateescape"))
    ours = {"model": model.fingerprint, "layer": layer, "data": data.hexdigest()[:16]}
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
