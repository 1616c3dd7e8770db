"""The result documents of the commands, checked field by field (by msgspec, against the classes below).

A document is what ``--json`` writes: ``{schema, command, configuration, results}``; its file is called
``<command>.<label>.json``, where the label is the name of the system (``trained``, ``untrained``,
``one-speaker``, or any other word).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from msgspec import Meta, ValidationError, convert

from sdpn.benchmark.figures import Row, table_header, table_row
from sdpn.errors import InputError
from sdpn.io.json_text import read_json
from sdpn.report.alignment import CONFUSION, FALSE_ALARM, MISSED

Count = Annotated[int, Meta(ge=0)]
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class VerificationResults:
    """Results of ``sdpn verify``.

    Attributes:
        eer: equal error rate, 0 to 1.
        min_dcf_001: minimal detection cost at a target prior of 0.01.
        min_dcf_005: the same at 0.05.
        num_target: number of same-speaker trials.
        num_nontarget: number of different-speaker trials.
        threshold: score at the EER; None where there is none.
    """

    eer: float
    min_dcf_001: float
    min_dcf_005: float
    num_target: Count
    num_nontarget: Count
    threshold: float | None


@dataclass(frozen=True)
class ErrorSeconds:
    """The parts of a diarization error, in seconds of speaker time.

    Attributes:
        missed_s: reference speech that the hypothesis lacks.
        false_alarm_s: hypothesis speech that the reference lacks.
        confusion_s: speech given to the wrong speaker.
        total_s: scored reference speech, the denominator of the DER.
        der: diarization error rate, 1 for 100 %; None where it is not defined.
    """

    missed_s: float
    false_alarm_s: float
    confusion_s: float
    total_s: float
    der: float | None

    @property
    def parts_s(self) -> dict[str, float]:
        """Seconds of each kind of error."""
        return {MISSED: self.missed_s, FALSE_ALARM: self.false_alarm_s, CONFUSION: self.confusion_s}

    @property
    def share(self) -> float:
        """The DER, with 0 where it is not defined."""
        return self.der or 0.0

    def rate(self, seconds: float) -> float | None:
        """``seconds`` as a share of the scored reference speech; None where there is no such speech."""
        return seconds / self.total_s if self.total_s > 0 else None


@dataclass(frozen=True)
class ScoredRecording(ErrorSeconds):
    """The diarization error of one recording."""

    recording: str
    num_speakers_reference: Count
    num_speakers_hypothesis: Count


@dataclass(frozen=True)
class Score:
    """Results of ``sdpn score``.

    Attributes:
        files: one per recording.
        total: over all of them.
        collar_s: seconds that are not scored on each side of a reference boundary.
        skip_overlap: whether overlapped reference speech was left out.
        uem: the UEM file that limits what is scored, or None.
        reference: RTTM files.
        hypothesis: RTTM files.
    """

    files: tuple[ScoredRecording, ...]
    total: ErrorSeconds
    collar_s: float
    skip_overlap: bool
    uem: Path | None
    reference: tuple[Path, ...]
    hypothesis: tuple[Path, ...]

    @property
    def ders(self) -> dict[str, float | None]:
        """The DER of each recording."""
        return {file.recording: file.der for file in self.files}

    @property
    def settings(self) -> tuple[float, bool, str | None]:
        """What two scores must share before their DERs can be compared."""
        return self.collar_s, self.skip_overlap, None if self.uem is None else self.uem.name


@dataclass(frozen=True)
class Speed:
    """Seconds of audio, of computation, and the second by the first: None where there was no audio."""

    duration_s: float
    seconds: float
    real_time_factor: float | None


@dataclass(frozen=True)
class Diarization:
    """Results of ``sdpn diarize``; ``total`` is over all recordings."""

    total: Speed


@dataclass(frozen=True)
class BenchmarkedModel:
    """A model of a benchmark."""

    name: str


@dataclass(frozen=True)
class BenchmarkResults:
    """Results of ``sdpn benchmark``: figures of all models, in rows with a value for each.

    Raises:
        ValueError: a row has another number of values.
    """

    models: Annotated[tuple[BenchmarkedModel, ...], Meta(min_length=1)]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.values) != len(self.models):
                raise ValueError(
                    f"{row.figure!r} has {len(row.values)} values, expected one for each of "
                    f"{len(self.models)} models"
                )

    @property
    def header(self) -> list[str]:
        """Titles of the columns."""
        return table_header([model.name for model in self.models])

    @property
    def lines(self) -> list[list[str]]:
        """The rows as text."""
        return [table_row(row) for row in self.rows]


@dataclass(frozen=True)
class _Document(Generic[Kind]):
    schema: str
    command: tuple[str, ...]
    configuration: dict[str, Any]
    results: Kind


@dataclass(frozen=True)
class ResultFile:
    """One result document.

    Attributes:
        path: the file.
        command: the part of its name before the first dot, such as "verify".
        label: the rest of its name, such as "trained".
        argv: the command line that made it.
        results: the checked results; None for a command that has no part in the tables.
    """

    path: Path
    command: str
    label: str
    argv: tuple[str, ...]
    results: VerificationResults | Score | Diarization | BenchmarkResults | None


_KINDS: dict[str, Any] = {
    "verify": VerificationResults,
    "score": Score,
    "diarize": Diarization,
    "benchmark": BenchmarkResults,
}


def read_results(folder: Path) -> list[ResultFile]:
    """Read every ``<command>.<label>.json`` of a folder, in the order of their names.

    Returns:
        the documents; none where the folder is missing.

    Raises:
        InputError: a document is misnamed, is not JSON, or lacks a field; the message names it.
    """
    if not folder.is_dir():
        return []
    return [read_result_file(path) for path in sorted(folder.glob("*.json")) if path.name[0] != "."]


def read_result_file(path: Path) -> ResultFile:
    """Read and check one result document.

    Raises:
        InputError: see `read_results`.
    """
    command, _, label = path.name.removesuffix(".json").partition(".")
    if not command or not label:
        raise InputError(
            "is not named <command>.<label>.json", path=path, hint="for example verify.trained.json"
        )
    hint = f"write it again with sdpn {command} … --json FILE"
    raw = read_json(path, "result document", hint=hint)
    try:
        document = convert(raw, _Document[dict])
        if document.schema != f"sdpn.{command}/1":
            raise InputError(
                f"its schema is {document.schema!r}, but its name requires 'sdpn.{command}/1'",
                path=path,
                hint="the part before the first dot is the command that wrote it",
            )
        results = None
        if kind := _KINDS.get(command):
            # what msgspec does not know, a Path, its hook makes
            checked: Any = _Document[kind]  # type: ignore[valid-type]
            results = convert(raw, checked, dec_hook=lambda cls, value: cls(value)).results
    except ValidationError as error:
        raise InputError(_named(error), path=path, hint=hint) from None
    return ResultFile(path, command, label, document.command, results)


def _named(error: ValidationError) -> str:
    """Message of msgspec with the field in front: ``'eer' of 'results': Expected `float`, got `str```."""
    what, _, where = str(error).partition(" - at `$.")
    section, _, field = where.removesuffix("`").rpartition(".")
    place = f"{field!r} of {section!r}" if section else repr(field) if field else "the document"
    return f"{place}: {what}"
