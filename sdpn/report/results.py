"""The result documents of the commands, checked field by field.

A document is what ``--json`` writes: ``{schema, command, configuration, results}``; its file is called
``<command>.<label>.json``, where the label is the name of the system (``trained``, ``untrained``,
``one-speaker``, or any other word).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdpn.errors import InputError
from sdpn.io.json_text import read_json


@dataclass(frozen=True)
class Verification:
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
    num_target: int
    num_nontarget: int
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

    def rate(self, seconds: float) -> float | None:
        """``seconds`` as a share of the scored reference speech; None where there is no such speech."""
        return seconds / self.total_s if self.total_s > 0 else None


@dataclass(frozen=True)
class ScoredRecording:
    """The diarization error of one recording."""

    recording: str
    errors: ErrorSeconds
    num_speakers_reference: int
    num_speakers_hypothesis: int


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
    def settings(self) -> tuple[float, bool, str | None]:
        """What two scores must share before their DERs can be compared."""
        return self.collar_s, self.skip_overlap, None if self.uem is None else self.uem.name


@dataclass(frozen=True)
class Diarization:
    """Results of ``sdpn diarize``.

    Attributes:
        num_files: recordings.
        duration_s: seconds of audio.
        seconds: computation time.
        real_time_factor: the second by the first; None where there was no audio.
    """

    num_files: int
    duration_s: float
    seconds: float
    real_time_factor: float | None


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
    results: Verification | Score | Diarization | None


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
    raw = read_json(path, "result document", hint=f"write it again with sdpn {command} … --json FILE")
    document = _Fields(raw, "the document", path)
    schema = document.text("schema")
    if schema != f"sdpn.{command}/1":
        raise InputError(
            f"its schema is {schema!r}, but its name requires 'sdpn.{command}/1'",
            path=path,
            hint="the part before the first dot is the command that wrote it",
        )
    document.fields("configuration")
    fields = document.fields("results")
    results: Verification | Score | Diarization | None = None
    if command == "verify":
        results = _verification(fields)
    elif command == "score":
        results = _score(fields)
    elif command == "diarize":
        results = _diarization(fields)
    return ResultFile(path, command, label, document.texts("command"), results)


def _verification(results: _Fields) -> Verification:
    return Verification(
        eer=results.number("eer"),
        min_dcf_001=results.number("min_dcf_001"),
        min_dcf_005=results.number("min_dcf_005"),
        num_target=results.count("num_target"),
        num_nontarget=results.count("num_nontarget"),
        threshold=results.number_or_none("threshold"),
    )


def _score(results: _Fields) -> Score:
    uem = results.text_or_none("uem")
    return Score(
        files=tuple(
            ScoredRecording(
                recording=row.text("recording"),
                errors=_errors(row),
                num_speakers_reference=row.count("num_speakers_reference"),
                num_speakers_hypothesis=row.count("num_speakers_hypothesis"),
            )
            for row in results.rows("files")
        ),
        total=_errors(results.fields("total")),
        collar_s=results.number("collar_s"),
        skip_overlap=results.flag("skip_overlap"),
        uem=None if uem is None else Path(uem),
        reference=tuple(map(Path, results.texts("reference"))),
        hypothesis=tuple(map(Path, results.texts("hypothesis"))),
    )


def _errors(row: _Fields) -> ErrorSeconds:
    return ErrorSeconds(
        missed_s=row.number("missed_s"),
        false_alarm_s=row.number("false_alarm_s"),
        confusion_s=row.number("confusion_s"),
        total_s=row.number("total_s"),
        der=row.number_or_none("der"),
    )


def _diarization(results: _Fields) -> Diarization:
    total = results.fields("total")
    return Diarization(
        num_files=len(list(results.rows("files"))),
        duration_s=total.number("duration_s"),
        seconds=total.number("seconds"),
        real_time_factor=total.number_or_none("real_time_factor"),
    )


class _Fields:
    """A JSON object whose accessors raise errors that name the file and the field."""

    def __init__(self, value: Any, where: str, path: Path) -> None:
        self._where, self._path = where, path
        if not isinstance(value, dict):
            raise self._error(f"{where}: expected an object, found {_shown(value)}")
        self._values = value

    def number(self, key: str) -> float:
        return self._number(key, self._get(key))

    def number_or_none(self, key: str) -> float | None:
        value = self._get(key)
        return None if value is None else self._number(key, value)

    def count(self, key: str) -> int:
        value = self._get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._expected(key, "a count", value)
        return value

    def flag(self, key: str) -> bool:
        value = self._get(key)
        if not isinstance(value, bool):
            raise self._expected(key, "true or false", value)
        return value

    def text(self, key: str) -> str:
        value = self._get(key)
        if not isinstance(value, str):
            raise self._expected(key, "text", value)
        return value

    def text_or_none(self, key: str) -> str | None:
        return None if self._get(key) is None else self.text(key)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._expected(key, "a list of strings", value)
        return tuple(value)

    def fields(self, key: str) -> _Fields:
        return _Fields(self._get(key), f"'{key}' of {self._where}", self._path)

    def rows(self, key: str) -> Iterator[_Fields]:
        value = self._get(key)
        if not isinstance(value, list):
            raise self._expected(key, "a list", value)
        for number, item in enumerate(value, start=1):
            yield _Fields(item, f"item {number} of '{key}'", self._path)

    def _number(self, key: str, value: Any) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise self._expected(key, "a finite number", value)
        return float(value)

    def _get(self, key: str) -> Any:
        if key not in self._values:
            raise self._error(f"{self._where} has no {key!r}")
        return self._values[key]

    def _expected(self, key: str, what: str, value: Any) -> InputError:
        return self._error(f"{key!r} of {self._where}: expected {what}, found {_shown(value)}")

    def _error(self, message: str) -> InputError:
        return InputError(message, path=self._path, hint="write it again with the command's --json FILE")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
