"""Receipts of JSON documents: what turns were made from, and whether they can be made again.

``sdpn diarize --format json`` writes them (`sdpn.diarization.outputs.with_receipt`).
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

import sdpn
from sdpn.clustering.base import check_counts
from sdpn.clustering.registry import make_clusterer
from sdpn.config import from_dict
from sdpn.diarization.outputs import RESULT, result_digest
from sdpn.diarization.pipeline import DiarizationConfig, Diarizer, PipelineConfig
from sdpn.diarization.recordings import RecordingOptions, diarize_recording
from sdpn.errors import InputError
from sdpn.formats.json_document import SCHEMA, json_document
from sdpn.interop.load import Runtime, load_model
from sdpn.interop.segmentation import load_segmentation
from sdpn.io.checksum import file_sha256, files_sha256
from sdpn.io.json_text import read_json
from sdpn.io.parsing import parsing
from sdpn.models.speaker_embedder import Precision, SpeakerEmbedder
from sdpn.people.naming import PeopleOptions, load_naming
from sdpn.pretrained import model_name, model_path

if TYPE_CHECKING:
    from sdpn.models.graph_segmenter import GraphSegmenter
    from sdpn.models.segmenter import Segmenter

_WHAT = "JSON document of 'sdpn diarize --format json'"


@dataclass(frozen=True, kw_only=True)
class ReceiptLine:
    """One thing that a receipt says, and what is found now.

    Attributes:
        what: ``audio``, ``model``, ``segmentation``, ``people`` (voiceprints and their back end), ``code``,
            ``machine``, ``file`` (nobody has edited the document) or ``result`` (turns, talk times,
            embeddings).
        same: whether both agree.
        receipt: what the receipt says.
        found: what is found now.
    """

    what: str
    same: bool
    receipt: str
    found: str


@dataclass(frozen=True, kw_only=True)
class ReceiptCheck:
    """What `verify_receipt` found.

    Attributes:
        recording: its id.
        lines: what was compared.
        differing: the keys of the document that came out differently (`sdpn.diarization.outputs.RESULT`).
    """

    recording: str
    lines: list[ReceiptLine]
    differing: list[str]

    @property
    def repeated(self) -> bool:
        """Whether the file is as it was written, and the work gave the same again."""
        return all(line.same for line in self.lines if line.what in ("file", "result"))

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "repeated": self.repeated}


def origin_of(
    model: SpeakerEmbedder,
    path: Path | None,
    format: str | None,
    segmenter: Segmenter | GraphSegmenter | None = None,
    segmentation: str | None = None,
) -> dict[str, Any]:
    """The part of a receipt that is the same for all recordings: networks, ``code`` and ``machine``.

    Args:
        model: the loaded model.
        path: where it is; None is the default model.
        format: as given to `sdpn.load_model`.
        segmenter: the loaded segmentation network; None for none.
        segmentation: where it is, or its name.
    """
    found = model_path(path)
    library, version = model.runtime
    return {
        "model": {
            "path": model_name(found),
            "format": format,
            "files_sha256": files_sha256(found, lambda name: name.suffix != ".md"),
            "weights": model.fingerprint,
            **({} if library == "torch" else {"runtime": "onnx", "precision": model.precision}),
        },
        "segmentation": None if segmenter is None else {"path": segmentation, "weights": segmenter.digest},
        "code": {"sdpn": sdpn.__version__, "source_sha256": _source_sha256()},
        "machine": {
            "python": platform.python_version(),
            library: version,
            "numpy": numpy.__version__,
            "system": platform.system(),
            "processor": platform.machine(),
            "threads": model.num_threads,
        },
    }


def verify_receipt(
    path: Path,
    *,
    audio: Path | None = None,
    model: Path | None = None,
    progress: Callable[[float, float | None], None] | None = None,
) -> ReceiptCheck:
    """Repeat the diarization of a JSON document, and compare.

    >>> verify_receipt(Path("out/meeting.json")).repeated
    True

    Args:
        path: the document.
        audio: the recording; None takes it from where it was.
        model: the model; None takes it from where it was.
        progress: called with the seconds of audio processed and in total.

    Raises:
        InputError: the file is no such document, has no receipt, or the audio or the model is not there.
    """
    claimed = read_receipt(path)
    if audio is None:
        if claimed.audio is None:
            raise InputError(
                "was made from standard input, which cannot be read again",
                path=path,
                hint="give the recording: --audio FILE",
            )
        audio = claimed.audio
    if not audio.is_file():
        raise InputError(
            "no such audio file",
            path=audio,
            hint=f"{path} was made from it; give --audio FILE if it has moved",
        )
    model = claimed.model if model is None else model
    embedder = load_model(model, claimed.format, runtime=claimed.runtime, precision=claimed.precision)
    segmenter = None
    if claimed.segmentation is not None:
        segmenter = load_segmentation(claimed.segmentation, runtime=claimed.runtime)
    found = origin_of(embedder, model, claimed.format, segmenter, claimed.segmentation)
    naming = None
    if claimed.people is not None:
        naming = load_naming(embedder, model_path(model), claimed.people)
    spoken, _ = diarize_recording(
        Diarizer(embedder, config=claimed.config, segmentation=segmenter),
        claimed.document["recording"],
        audio,
        claimed.options,
        speech=claimed.speech,
        naming=naming,
        progress=progress,
    )
    again = json_document(spoken)
    lines = [
        _line("audio", claimed.audio_sha256, file_sha256(audio)),
        _line("model", claimed.weights, found["model"]["weights"]),
        *(
            []
            if segmenter is None
            else [_line("segmentation", claimed.segmentation_weights, found["segmentation"]["weights"])]
        ),
        *([] if naming is None else [_line("people", claimed.people_digest, naming.known.digest)]),
        _line("code", claimed.source_sha256, found["code"]["source_sha256"]),
        _line("machine", claimed.machine, _words(found["machine"])),
        _line("file", claimed.result_sha256, result_digest(claimed.document)),
        _line("result", claimed.result_sha256, result_digest(again)),
    ]
    return ReceiptCheck(
        recording=claimed.document["recording"],
        lines=lines,
        differing=[key for key in RESULT if again.get(key) != claimed.document.get(key)],
    )


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """A document and what its receipt says, as far as a repetition needs it.

    Attributes:
        document: the document.
        audio: the recording; None for standard input.
        audio_sha256: digest of its bytes.
        model: the model, or the name of an included one.
        format: of the model.
        weights: digest of its weights.
        runtime: what ran the networks.
        precision: of the model.
        segmentation: the segmentation network; None without.
        segmentation_weights: digest of its weights.
        source_sha256: digest of the code.
        machine: versions and machine, in words.
        result_sha256: digest of what the work decided.
        options: how the recording was read and diarized.
        speech: given speech.
        people: known people; None without.
        people_digest: digest of them and of their back end.
        config: all settings.
    """

    document: dict[str, Any]
    audio: Path | None
    audio_sha256: str
    model: Path
    format: str | None
    weights: str
    runtime: Runtime
    precision: Precision
    segmentation: str | None
    segmentation_weights: str
    source_sha256: str
    machine: str
    result_sha256: str
    options: RecordingOptions
    speech: list[tuple[float, float]] | None
    people: PeopleOptions | None
    people_digest: str
    config: DiarizationConfig


def read_receipt(path: Path) -> Receipt:
    """Read a JSON document with a receipt.

    Raises:
        InputError: the file is no such document, has no receipt, or is damaged.
    """
    document = read_json(path, _WHAT)
    if document.get("schema") != SCHEMA:
        raise InputError(
            f"is not a {_WHAT}: its schema is {document.get('schema')!r}, not {SCHEMA!r}", path=path
        )
    if document.get("receipt") is None:
        raise InputError("has no receipt", path=path, hint="diarize again: sdpn diarize --format json")
    _refuse_older(document["receipt"], path)
    with parsing(path, "has a damaged receipt", hint="diarize again: sdpn diarize --format json"):
        receipt, options = document["receipt"], document["receipt"]["options"]
        audio, speech, was_read = document["audio"], options["speech"], receipt["audio"]
        local = receipt["segmentation"]
        return Receipt(
            document={"recording": str(document["recording"]), **document},
            audio=None if audio is None else Path(audio),
            audio_sha256="unknown (standard input)" if was_read is None else str(was_read["sha256"]),
            model=Path(receipt["model"]["path"]),
            format=receipt["model"]["format"],
            weights=str(receipt["model"]["weights"]),
            runtime="onnx" if receipt["model"].get("runtime") == "onnx" else "torch",
            precision="int8" if receipt["model"].get("precision") == "int8" else "fp32",
            segmentation=None if local is None else str(local["path"]),
            segmentation_weights="" if local is None else str(local["weights"]),
            source_sha256=str(receipt["code"]["source_sha256"]),
            machine=_words(receipt["machine"]),
            result_sha256=str(receipt["result_sha256"]),
            options=_options(options),
            speech=None if speech is None else [(float(start), float(end)) for start, end in speech],
            people=None if "people" not in receipt else PeopleOptions.from_dict(receipt["people"]),
            people_digest=str(receipt["people"]["digest"]) if "people" in receipt else "",
            config=_config(document["settings"]),
        )


def _refuse_older(receipt: Any, path: Path) -> None:
    """Documents of versions that knew less cannot be repeated by this one: they vouch for other keys.

    Raises:
        InputError: the receipt is of such a version.
    """
    if not isinstance(receipt, dict) or receipt.get("result_keys") == list(RESULT):
        return
    was_whole = isinstance(receipt.get("code"), dict) and "result_sha256" in receipt
    if was_whole:
        code = receipt["code"]
        source = str(code.get("source_sha256"))[:12]
        raise InputError(
            f"was written by an older version of sdpn ({code.get('sdpn', 'unknown')}, source {source}), "
            "whose results had other keys",
            path=path,
            hint="verify it with that version, or diarize again: sdpn diarize --format json",
        )


def _options(given: Mapping[str, Any]) -> RecordingOptions:
    counts = given["num_speakers"], given["min_speakers"], given["max_speakers"]
    check_counts(num_speakers=counts[0], min_speakers=counts[1], max_speakers=counts[2])
    return RecordingOptions(
        channel=given["channel"],
        num_speakers=counts[0],
        min_speakers=counts[1],
        max_speakers=counts[2],
        skip_bad=bool(given["skip_bad"]),
        formats=("json",),
        speaker_embeddings=bool(given["speaker_embeddings"]),
        exclusive=bool(given["exclusive"]),
    )


def _config(settings: Mapping[str, Any]) -> DiarizationConfig:
    """The settings of the pipeline and all of the clusterer."""
    try:
        return _checked_config(settings)
    except InputError as error:  # it names a key, and neither the file nor what to do
        raise ValueError(str(error)) from error


def _checked_config(settings: Mapping[str, Any]) -> DiarizationConfig:
    names = [field.name for field in fields(PipelineConfig) if field.name in settings]
    pipeline = from_dict(PipelineConfig, {name: settings[name] for name in names})
    method = settings["method"]
    make_clusterer(method, settings[method])
    return DiarizationConfig(**vars(pipeline), method=method, settings=settings[method])


def _line(what: str, receipt: str, found: str) -> ReceiptLine:
    return ReceiptLine(what=what, same=receipt == found, receipt=receipt, found=found)


def _words(machine: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in machine.items())


@cache
def _source_sha256() -> str:
    """SHA-256 of the source of this package."""
    return files_sha256(Path(sdpn.__file__).parent, lambda name: name.suffix == ".py")
