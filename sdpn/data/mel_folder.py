"""Folders of mel features with labels, in the layout of a course exercise, and their training set.

``metadata.json``: {"n_mels", "speakers": {name: [{"feature_path", "mel_len"}, …]}}; ``mapping.json``:
{"speaker2id": {name: number}, "id2speaker": {number: name}}; ``testdata.json``: {"n_mels", "utterances":
[{"feature_path", "mel_len"}, …]}. A feature file is a tensor (frames, bands) saved by torch; nothing in it is
executed.

Shapes: B batch, F mel bands, T frames.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdpn.data.bad_files import BadFiles, Fault
from sdpn.data.crops import CropBatch
from sdpn.data.sampler import Item, Mixture
from sdpn.errors import InputError
from sdpn.io.json_text import read_json
from sdpn.io.kaldi import Utterance
from sdpn.memory import is_out_of_memory

METADATA, MAPPING, TESTDATA = "metadata.json", "mapping.json", "testdata.json"


@dataclass(frozen=True)
class MelFolder:
    """Contents of a folder, without the features.

    Attributes:
        utterances: with the path of their features; the id is that path in the folder.
        num_frames: frames of each, by id.
        num_mels: mel bands F.
        class_of: speaker of each, by id; empty for test data.
        names: the speakers by their number in ``mapping.json``; empty for test data.
        source: the file that this was read from.
    """

    utterances: tuple[Utterance, ...]
    num_frames: Mapping[str, int]
    num_mels: int
    class_of: Mapping[str, str]
    names: tuple[str, ...]
    source: Path


def is_mel_folder(directory: Path) -> bool:
    """Whether a folder has this layout."""
    return (directory / METADATA).is_file()


def read_mel_folder(directory: Path) -> MelFolder:
    """Read ``metadata.json`` and ``mapping.json``.

    Raises:
        InputError: a file is missing or malformed, or they disagree about the speakers.
    """
    source = directory / METADATA
    document = read_json(source, "list of mel features")
    names = read_mapping(directory)
    speakers = document.get("speakers")
    if not isinstance(speakers, dict) or not speakers:
        raise InputError("has no section 'speakers'", path=source)
    mapped = set(names)
    unmapped = [name for name in speakers if name not in mapped]
    unheard = [name for name in names if name not in speakers]
    if unmapped or unheard:
        first = unmapped[0] if unmapped else unheard[0]
        raise InputError(
            f"disagrees with {METADATA} about the speakers: {first!r} is only in "
            f"{METADATA if unmapped else MAPPING} ({len(unmapped)} are only there, {len(unheard)} only here)",
            path=directory / MAPPING,
            hint="take both files from the same data",
        )
    class_of: dict[str, str] = {}

    def rows() -> Iterator[Any]:
        for name, entries in speakers.items():
            if not isinstance(entries, list):
                raise InputError(f"expected a list of utterances of {name!r}", path=source)
            for entry in entries:
                if isinstance(entry, dict) and isinstance(entry.get("feature_path"), str):
                    class_of[entry["feature_path"]] = name
                yield entry

    utterances, num_frames = _utterances(directory, rows(), source)
    return MelFolder(utterances, num_frames, _num_mels(document, source), class_of, names, source)


def read_mel_test(directory: Path) -> MelFolder:
    """Read ``testdata.json``.

    Raises:
        InputError: it is missing or malformed.
    """
    source = directory / TESTDATA
    document = read_json(source, "list of test utterances")
    entries = document.get("utterances")
    if not isinstance(entries, list):
        raise InputError("has no list 'utterances'", path=source)
    utterances, num_frames = _utterances(directory, iter(entries), source)
    return MelFolder(utterances, num_frames, _num_mels(document, source), {}, (), source)


def read_mel(path: Path, *, num_mels: int, num_frames: int | None = None) -> np.ndarray:
    """Read one feature file, without executing anything in it.

    Args:
        path: the file.
        num_mels: the number of bands it must have.
        num_frames: the number of frames it must have; None for any.

    Returns:
        (T, F) float32.

    Raises:
        InputError: it is missing, no tensor, of another shape, or has values that are NaN or infinite.
    """
    try:
        mel = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError("no such file of features", path=path) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=path) from error
    except Exception as error:  # of any kind: it depends on what the file holds
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"is not a tensor that torch.save wrote ({type(error).__name__})",
            path=path,
            hint="files of other content are not opened: nothing in them is executed",
        ) from error
    if not isinstance(mel, Tensor) or not _is_plain(mel):
        found = f"a tensor of {mel.dtype}" if isinstance(mel, Tensor) else f"{type(mel).__name__}"
        raise InputError(f"expected a tensor of floating-point numbers, found {found}", path=path)
    wanted = f"({'frames' if num_frames is None else num_frames}, {num_mels})"
    if mel.ndim != 2 or mel.shape[1] != num_mels or not len(mel) or num_frames not in (None, len(mel)):
        raise InputError(f"expected features of shape {wanted}, found {tuple(mel.shape)}", path=path)
    values: np.ndarray = mel.detach().to(torch.float32).contiguous().cpu().numpy()
    if not np.isfinite(values).all():
        row = int((~np.isfinite(values).all(axis=1)).argmax())
        raise InputError(f"has NaN or infinite features, first in frame {row}", path=path)
    return values


def _is_plain(mel: Tensor) -> bool:
    """Whether a tensor holds its numbers: not sparse, nested, or without memory."""
    return mel.layout == torch.strided and not mel.is_nested and not mel.is_meta and mel.is_floating_point()


def write_mel_folder(
    directory: Path,
    training: Iterable[tuple[str, np.ndarray]],
    test: Iterable[np.ndarray] = (),
    *,
    num_mels: int,
) -> None:
    """Write a folder of this layout; files are numbered in the order given.

    Args:
        directory: an existing folder, such as one of `sdpn.io.atomic.atomic_directory`.
        training: speaker and features (T, F) of each utterance.
        test: features of utterances whose speaker is not told.
        num_mels: mel bands F.
    """
    count = 0

    def store(mel_TF: np.ndarray) -> dict[str, Any]:
        nonlocal count
        name = f"uttr-{count:06d}.pt"
        count += 1
        torch.save(torch.from_numpy(np.ascontiguousarray(mel_TF, dtype=np.float32)), directory / name)
        return {"feature_path": name, "mel_len": len(mel_TF)}

    speakers: dict[str, list[dict[str, Any]]] = {}
    for name, mel_TF in training:
        speakers.setdefault(name, []).append(store(mel_TF))
    names = sorted(speakers)
    documents: dict[str, Any] = {
        METADATA: {"n_mels": num_mels, "speakers": {name: speakers[name] for name in names}},
        MAPPING: {
            "speaker2id": {name: number for number, name in enumerate(names)},
            "id2speaker": {str(number): name for number, name in enumerate(names)},
        },
    }
    told = [store(mel_TF) for mel_TF in test]
    if told:
        documents[TESTDATA] = {"n_mels": num_mels, "utterances": told}
    for file, document in documents.items():
        (directory / file).write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")


class MelReader:
    """Features by utterance; what fits is kept in memory.

    Args:
        folder: what they are.
        cache_mb: memory to keep them in, in MB.

    Attributes:
        folder: what they are.
    """

    def __init__(self, folder: MelFolder, *, cache_mb: int) -> None:
        self.folder = folder
        self._left = cache_mb << 20
        self._kept: dict[str, np.ndarray] = {}

    def part(self, utterances: Sequence[Utterance]) -> MelReader:
        """A reader of some utterances of the folder, which keeps them in the same memory."""
        reader = copy(self)
        reader.folder = replace(self.folder, utterances=tuple(utterances))
        reader._left = 0  # what it does not find there, it does not keep
        return reader

    def read(self, utterance: Utterance) -> np.ndarray:
        """Features (T, F) of an utterance.

        Raises:
            InputError: as `read_mel`.
        """
        kept = self._kept.get(utterance.id)
        if kept is not None:
            return kept
        frames = self.folder.num_frames[utterance.id]
        mel_TF = read_mel(utterance.path, num_mels=self.folder.num_mels, num_frames=frames)
        if mel_TF.nbytes <= self._left:
            self._left -= mel_TF.nbytes
            self._kept[utterance.id] = mel_TF
        return mel_TF


class MelSegments:
    """Random segments of mel features: what `sdpn.data.dataset.load_batches` loads from.

    A shorter utterance is repeated, as `sdpn.data.crops.crop` does.

    Args:
        reader: reads the features, per loader process.
        utterances: to train on.
        mixture: of them.
        num_frames: frames T of a segment.
        views: segments V of an utterance.
        seed: random seed.
    """

    def __init__(
        self,
        reader: MelReader,
        utterances: Sequence[Utterance],
        mixture: Mixture,
        *,
        num_frames: int,
        views: int,
        seed: int,
    ) -> None:
        self.mixture = mixture
        self.bad_files = BadFiles(len(utterances), 0.0)  # none: a bad one ends the run, by its name
        self._utterances = utterances
        self._num_frames, self._views, self._seed = num_frames, views, seed
        self._reader = reader

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self._utterances)

    def __getitems__(self, items: Sequence[Item]) -> list[tuple[np.ndarray, int]]:
        """Segments (V, F, T) and index of each utterance.

        Raises:
            InputError: a file cannot be used.
        """
        return [(self._segments(epoch, index), index) for epoch, index in items]

    @staticmethod
    def collate(items: Sequence[tuple[np.ndarray, int]]) -> tuple[CropBatch, list[Fault]]:
        """The batch: local views (V, B, F, T), no global ones, no bad files."""
        local = torch.from_numpy(np.stack([views for views, _ in items], axis=1))
        return CropBatch(local[:0], local, torch.tensor([index for _, index in items])), []

    def _segments(self, epoch: int, index: int) -> np.ndarray:
        mel_TF = self._reader.read(self._utterances[index])
        wanted = self._num_frames
        rng = np.random.default_rng((self._seed, epoch, index))
        firsts = rng.integers(0, max(0, len(mel_TF) - wanted) + 1, size=self._views)
        cut = [np.resize(mel_TF[first : first + wanted], (wanted, mel_TF.shape[1])).T for first in firsts]
        return np.stack(cut)


def padded_batches(
    read: Callable[[Utterance], np.ndarray], utterances: Sequence[Utterance], *, frames: int = 3_000
) -> Iterator[tuple[Tensor, Tensor, np.ndarray]]:
    """Whole utterances in batches of similar length.

    Args:
        read: features (T, F) of an utterance.
        utterances: N of them.
        frames: of a batch, padding included; longer utterances count more, as attention does.

    Yields:
        features (B, F, T), lengths (B,), and which utterances they are, (B,).
    """
    mels = [read(one) for one in utterances]
    order = np.argsort([len(mel) for mel in mels], kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * _attended(len(mels[order[end]])) <= frames:
            end += 1
        chosen = order[start:end]
        lengths = torch.tensor([len(mels[index]) for index in chosen])
        batch = torch.zeros(len(chosen), mels[chosen[0]].shape[1], int(lengths.max()))
        for row, index in enumerate(chosen):
            batch[row, :, : len(mels[index])] = torch.from_numpy(mels[index].T)
        yield batch, lengths, chosen
        start = end


def _attended(num_frames: int) -> float:
    """Frames of an utterance as memory sees them: attention takes the square of long ones."""
    return num_frames * max(1.0, num_frames / 500)


def read_mapping(directory: Path) -> tuple[str, ...]:
    """The speakers by their number in ``mapping.json``.

    Raises:
        InputError: it is missing or malformed, or contradicts itself.
    """
    path = directory / MAPPING
    document = read_json(path, "mapping of speakers to numbers")
    forward, back = document.get("speaker2id"), document.get("id2speaker")
    if not isinstance(forward, dict) or not isinstance(back, dict):
        raise InputError("has no sections 'speaker2id' and 'id2speaker'", path=path)
    if sorted(map(str, forward.values())) != sorted(map(str, range(len(forward)))):
        raise InputError(f"expected the numbers 0 to {len(forward) - 1}, one for each speaker", path=path)
    for name, number in forward.items():
        if back.get(str(number)) != name:
            raise InputError(
                f"contradicts itself: {name!r} is number {number}, and number {number} is "
                f"{back.get(str(number))!r}",
                path=path,
            )
    if len(back) != len(forward):
        raise InputError(f"names {len(back)} numbers for {len(forward)} speakers", path=path)
    return tuple(back[str(number)] for number in range(len(back)))


def _num_mels(document: Mapping[str, Any], source: Path) -> int:
    value = document.get("n_mels")
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"'n_mels' is {value!r}; expected the number of mel bands", path=source)
    return value


def _utterances(
    directory: Path, entries: Iterator[Any], source: Path
) -> tuple[tuple[Utterance, ...], dict[str, int]]:
    utterances: list[Utterance] = []
    num_frames: dict[str, int] = {}
    for entry in entries:
        path = entry.get("feature_path") if isinstance(entry, dict) else None
        length = entry.get("mel_len") if isinstance(entry, dict) else None
        if not isinstance(path, str) or not path or not isinstance(length, int) or length < 1:
            raise InputError(
                f"expected {{'feature_path': …, 'mel_len': …}}, found {str(entry)[:60]}", path=source
            )
        if path in num_frames:
            raise InputError(f"contains {path!r} twice", path=source)
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise InputError(f"{path!r} lies outside the folder", path=source)
        num_frames[path] = length
        utterances.append(Utterance(path, directory / path))
    if not utterances:
        raise InputError("contains no utterances", path=source)
    return tuple(utterances), num_frames
