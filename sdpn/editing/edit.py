"""A diarized recording with corrections, and what follows from them: what ``sdpn edit`` does.

Shapes: N windows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.diarization.outputs import labelled_channels, who_spoke_when
from sdpn.diarization.pipeline import (
    Diarizer,
    EmbeddedRecording,
    LabelledRecording,
    Progress,
    labelled_by,
)
from sdpn.editing.corrections import Constraints, Correction, constraints_of, parse_correction
from sdpn.editing.recluster import recluster
from sdpn.errors import InputError
from sdpn.formats.registry import TURN_FORMATS, find_formats, write_turns
from sdpn.formats.turns_file import read_document
from sdpn.formats.who_spoke_when import WhoSpokeWhen
from sdpn.interop.load import load_model
from sdpn.interop.segmentation import load_segmentation
from sdpn.io.checksum import file_sha256
from sdpn.io.parsing import parsing
from sdpn.io.rttm import Turn
from sdpn.people.voiceprint import is_label
from sdpn.receipt import Receipt, read_receipt

_log = logging.getLogger(__name__)

#: A turn of which more than this share was stated is sure.
_STATED = 0.5

#: Recordings of lengths that differ by more, in seconds, are not encodings of one.
_SAME_LENGTH_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Edited:
    """A recording after corrections.

    Attributes:
        spoken: what is written.
        labelled: its turns.
        moved_s: seconds of speech whose speaker is another one than before, beyond the stated turns too.
    """

    spoken: WhoSpokeWhen
    labelled: LabelledRecording
    moved_s: float


def edit(
    document: Path,
    corrections: Sequence[Correction],
    *,
    audio: Path | None = None,
    model: Path | None = None,
    progress: Progress | None = None,
) -> Edited:
    """Apply corrections to a JSON document of ``sdpn diarize``, whose recording is embedded again.

    Corrections of earlier edits, which the document lists, hold as well.

    Args:
        document: written by ``sdpn diarize --format json`` or by an earlier edit.
        corrections: new ones.
        audio: the recording; None takes it from where it was.
        model: the model; None takes it from where it was.
        progress: called with the seconds of audio processed and in total.

    Raises:
        InputError: the document has no receipt, its recording or model is not there, the recording has
            another length, a correction names a turn or a speaker that does not exist, or corrections
            contradict each other.
    """
    receipt = read_receipt(document)
    before, content = read_document(document)
    with parsing(document, "is a damaged JSON document of turns"):
        earlier = [parse_correction(words) for words in content.get("corrections", [])]
        original = [
            _turn(before.recording, row) for row in content.get("uncorrected", content["exclusive_turns"])
        ]
    if receipt.options.channel == "separate":
        raise InputError(
            "has speakers of several channels, which are corrected one channel at a time",
            path=document,
            hint="diarize with --channel N",
        )
    together = [*earlier, *corrections]
    constraints = constraints_of(together, original)  # before the recording is read
    embedded = _embed(receipt, document, audio, model, progress)
    assert before.duration_s is not None  # documents say so
    _refuse_other_recording(embedded, receipt, document, before.duration_s)
    labelled, moved_s = correct(embedded, original, constraints)
    (channel,) = labelled_channels(
        before.recording, [embedded], [labelled], exclusive=receipt.options.exclusive
    )
    spoken = who_spoke_when(
        before.recording, receipt.audio, [channel], with_embeddings=receipt.options.speaker_embeddings
    )
    details = {
        **spoken.details,
        "corrections": [[each.kind, each.first, each.second] for each in together],
        "uncorrected": [
            {"start_s": round(turn.onset_s, 3), "end_s": round(turn.end_s, 3), "speaker": turn.speaker}
            for turn in original
        ],
        "settings": content["settings"],
        "receipt": content["receipt"],
    }
    if "people" in content:
        details["people"] = content["people"]
    spoken = replace(spoken, details=details).with_more(
        of_speakers=_identities(document, content, constraints), details={}
    )
    return Edited(spoken=spoken, labelled=labelled, moved_s=moved_s)


def _identities(
    document: Path, content: dict[str, Any], constraints: Constraints
) -> dict[str, dict[str, Any]]:
    """Whom a user has named, and whom ``--people`` or an earlier edit had: 'sdpn link' keeps these names."""
    with parsing(document, "is a damaged JSON document of turns"):
        found = {
            str(one["speaker"]): {"identity": one["identity"]}
            for one in content["speakers"]
            if "identity" in one
        }
    for known in constraints.known:
        name = constraints.root(known.speaker)
        if name not in found and not is_label(name):
            found[name] = {"identity": {"name": name, "nearest": None, "score": None, "threshold": None}}
    return found


def correct(
    embedded: EmbeddedRecording, turns: Sequence[Turn], constraints: Constraints
) -> tuple[LabelledRecording, float]:
    """Turns of a recording under constraints, and the seconds of speech that have another speaker now.

    Args:
        embedded: its windows.
        turns: before any correction, with one speaker at a time.
        constraints: from `sdpn.editing.corrections.constraints_of`.
    """
    times_N2 = embedded.windows.times_N2
    before = _speakers_of(times_N2, turns)
    names = list(dict.fromkeys([*before, *(known.speaker for known in constraints.known)]))
    roots = list(dict.fromkeys(constraints.root(name) for name in names))
    number = {name: roots.index(constraints.root(name)) for name in names}
    labels_N = np.array([number[name] for name in before])
    start_N = labels_N.copy()
    known_N, affected_K = np.zeros(len(labels_N), dtype=bool), np.zeros(len(roots), dtype=bool)
    centre_N = times_N2.mean(axis=1)
    for known in constraints.known:
        inside_N = (centre_N >= known.start_s) & (centre_N < known.end_s)
        if not inside_N.any():
            inside_N[np.abs(centre_N - (known.start_s + known.end_s) / 2).argmin()] = True
        affected_K[start_N[inside_N]] = True
        affected_K[number[known.speaker]] = True
        labels_N[inside_N] = number[known.speaker]
        known_N |= inside_N
    labels_N = recluster(embedded.emb_ND, times_N2, labels_N, known_N, affected_K)
    used, labels_N = np.unique(labels_N, return_inverse=True)
    labelled = labelled_by(embedded, labels_N, counts=None, names=[roots[label] for label in used])
    moved = np.array([roots[used[label]] for label in labels_N]) != np.array(before)
    hops_N = np.minimum(np.diff(times_N2[:, 0], append=times_N2[-1:, 1]), times_N2[:, 1] - times_N2[:, 0])
    return _with_stated(labelled, constraints), float(hops_N[moved].sum())


def _speakers_of(times_N2: np.ndarray, turns: Sequence[Turn]) -> list[str]:
    """The speaker of each window: of the turn that its centre is in, or of the nearest."""
    starts = np.array([turn.onset_s for turn in turns])
    ends = np.array([turn.end_s for turn in turns])
    found = []
    for centre_s in times_N2.mean(axis=1):
        apart = np.maximum(starts - centre_s, centre_s - ends)
        found.append(turns[int(apart.argmin())].speaker)
    return found


def _with_stated(labelled: LabelledRecording, constraints: Constraints) -> LabelledRecording:
    """Turns that a user has stated are sure."""

    def sure(annotation: Any, confidence: dict[int, float]) -> dict[int, float]:
        raised = dict(confidence)
        for segment, track, speaker in annotation.itertracks(yield_label=True):
            stated_s = sum(
                max(min(segment.end, known.end_s) - max(segment.start, known.start_s), 0.0)
                for known in constraints.known
                if constraints.root(known.speaker) == speaker
            )
            if stated_s > _STATED * segment.duration:
                raised[track] = 1.0
        return raised

    return replace(
        labelled,
        confidence=sure(labelled.annotation, labelled.confidence),
        exclusive_confidence=sure(labelled.exclusive, labelled.exclusive_confidence),
    )


def _embed(
    receipt: Receipt, document: Path, audio: Path | None, model: Path | None, progress: Progress | None
) -> EmbeddedRecording:
    """The windows of the recording, as they were when the document was made."""
    audio = receipt.audio if audio is None else audio
    if audio is None or not audio.is_file():
        raise InputError(
            "no such audio file" if audio is not None else "was made from standard input",
            path=audio or document,
            hint=f"{document} was made from it; give --audio FILE",
        )
    diarizer = Diarizer(
        load_model(
            receipt.model if model is None else model,
            receipt.format,
            runtime=receipt.runtime,
            precision=receipt.precision,
        ),
        config=receipt.config,
        segmentation=None
        if receipt.segmentation is None
        else load_segmentation(receipt.segmentation, runtime=receipt.runtime),
    )
    channel = receipt.options.channel
    assert channel != "separate"
    return diarizer.embed(
        audio,
        channel=channel,
        speech=receipt.speech,
        keep_truncated=receipt.options.skip_bad,
        progress=progress,
    )


def _refuse_other_recording(
    embedded: EmbeddedRecording, receipt: Receipt, document: Path, duration_s: float
) -> None:
    """Refuse audio of another length than the document's; other bytes may be another encoding of it."""
    if embedded.path is None:
        return
    if abs(embedded.duration_s - duration_s) > _SAME_LENGTH_S:
        raise InputError(
            f"lasts {embedded.duration_s:.1f} s, and the recording of {document} {duration_s:.1f} s",
            path=embedded.path,
            hint="is it another recording? Give the one that was diarized with --audio FILE",
        )
    if receipt.audio is not None and file_sha256(embedded.path) != receipt.audio_sha256:
        _log.warning("%s is not, byte for byte, the recording that %s was made from", embedded.path, document)


def _turn(recording: str, row: dict[str, Any]) -> Turn:
    start_s, end_s = float(row["start_s"]), float(row["end_s"])
    return Turn(recording, start_s, end_s - start_s, str(row["speaker"]))


def edit_document(
    document: Path,
    corrections: Sequence[Correction],
    out: Path,
    formats: Sequence[str] = ("json",),
    *,
    audio: Path | None = None,
    model: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Apply corrections and write the turns; arguments are those of `edit`.

    Args:
        document: see `edit`.
        corrections: see `edit`.
        out: folder of the files, which may be that of the document.
        formats: see `sdpn.formats.registry.TURN_FORMATS`.
        audio: see `edit`.
        model: see `edit`.
        progress: see `edit`.

    Returns:
        ``recording``, ``outputs`` by format, ``num_corrections`` (with earlier ones), ``num_speakers``,
        ``num_turns``, ``moved_s``.

    Raises:
        InputError: as `edit`, or a file cannot be written.
    """
    names = find_formats(formats)
    edited = edit(document, corrections, audio=audio, model=model, progress=progress)
    outputs = {name: out / f"{document.stem}{TURN_FORMATS[name].suffix}" for name in names}
    write_turns(edited.spoken, outputs)
    return {
        "recording": edited.spoken.recording,
        "outputs": {name: str(path) for name, path in outputs.items()},
        "num_corrections": len(edited.spoken.details["corrections"]),
        "num_speakers": len(edited.spoken.speakers),
        "num_turns": len(edited.spoken.turns),
        "moved_s": round(edited.moved_s, 3),
    }
