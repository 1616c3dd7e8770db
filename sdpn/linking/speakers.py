"""The speakers of many diarized recordings, from the JSON documents of ``sdpn diarize``.

Shapes: N speakers, D embedding dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdpn.errors import InputError
from sdpn.formats.json_document import SCHEMA
from sdpn.formats.turns_file import read_document
from sdpn.io.parsing import parsing

_COMMAND = "sdpn diarize --format json --embeddings"


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedSpeakers:
    """Speakers of recordings.

    Attributes:
        recordings: id of each recording.
        recording_N: index of the recording of each speaker.
        labels: label of each in its recording.
        names: name of a known person (``--people``); None for others.
        talk_s_N: seconds of speech.
        emb_ND: embeddings, float32.
        model: the model that computed them, as a receipt names it.
        format: its format.
        weights: digest of its weights.
    """

    recordings: list[str]
    recording_N: np.ndarray
    labels: list[str]
    names: list[str | None]
    talk_s_N: np.ndarray
    emb_ND: np.ndarray
    model: str
    format: str | None
    weights: str

    def __len__(self) -> int:
        """N."""
        return len(self.labels)


def find_documents(paths: Sequence[Path]) -> list[Path]:
    """JSON documents of turns: files, and those in folders (others there are passed over).

    Raises:
        InputError: a path does not exist, or a folder holds none.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        documents = [file for file in sorted(path.glob("*.json")) if _is_document(file)]
        if not documents:
            raise InputError("holds no JSON document of turns", path=path, hint=f"write them: {_COMMAND}")
        found += documents
    return found


def _is_document(path: Path) -> bool:
    """Whether a file is about turns, by its beginning."""
    try:
        with open(path, encoding="utf-8") as stream:
            return f'"{SCHEMA}"' in stream.read(200)
    except (OSError, UnicodeDecodeError):
        return False


def read_speakers(documents: Sequence[Path]) -> RecordedSpeakers:
    """Read the speakers of recordings.

    Raises:
        InputError: a document is damaged or has no embeddings, they are of different models, a recording
            occurs twice, or nobody speaks.
    """
    recordings: dict[str, Path] = {}
    places: list[int] = []
    labels: list[str] = []
    names: list[str | None] = []
    talk_s: list[float] = []
    rows: list[np.ndarray] = []
    origin: tuple[str, str | None, str] | None = None
    for path in documents:
        turns, document = read_document(path)
        if turns.recording in recordings:
            raise InputError(
                f"recording {turns.recording!r} is also in {recordings[turns.recording]}",
                path=path,
                hint="give every recording once, and recordings different names",
            )
        recordings[turns.recording] = path
        if not turns.turns:
            continue
        with parsing(path, "is a damaged JSON document of turns", hint=f"diarize again: {_COMMAND}"):
            receipt = document.get("receipt")
            speakers = document["speakers"]
        if receipt is None or not all("embedding" in one for one in speakers):
            raise InputError(
                "has no embeddings of its speakers", path=path, hint=f"diarize again: {_COMMAND}"
            )
        with parsing(path, "is a damaged JSON document of turns", hint=f"diarize again: {_COMMAND}"):
            model = receipt["model"]
            here = (str(model["path"]), model["format"], str(model["weights"]))
            for one in speakers:
                row_D = np.array([float(value) for value in one["embedding"]], dtype=np.float32)
                if row_D.ndim != 1 or not np.isfinite(row_D).all() or not row_D.any():
                    raise ValueError(f"the embedding of {one['speaker']!r} is none")
                if rows and len(row_D) != len(rows[0]):
                    raise ValueError(f"embeddings of {len(rows[0])} and of {len(row_D)} dimensions")
                rows.append(row_D)
                places.append(len(recordings) - 1)
                labels.append(str(one["speaker"]))
                names.append((one.get("identity") or {}).get("name"))
                talk_s.append(float(one["talk_s"]))
        if origin is not None and here[2] != origin[2]:
            raise InputError(
                f"was made with {here[0]}, and earlier documents with {origin[0]}: their embeddings cannot "
                "be compared",
                path=path,
                hint="diarize all recordings with one model",
            )
        origin = origin or here
    if origin is None:
        raise InputError("nobody speaks in these recordings", path=documents[0] if documents else None)
    return RecordedSpeakers(
        recordings=list(recordings),
        recording_N=np.array(places),
        labels=labels,
        names=names,
        talk_s_N=np.array(talk_s),
        emb_ND=np.stack(rows),
        model=origin[0],
        format=origin[1],
        weights=origin[2],
    )
