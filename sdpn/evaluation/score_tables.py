"""The figures of `sdpn.evaluation.score` as tables and sentences, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: With fewer recordings than this, a bootstrap interval is only a rough estimate.
_FEW_RECORDINGS = 10

_RATES = {"der": "DER %", "nist": "DER % ±0.25 s", "jer": "JER %"}


@dataclass(frozen=True)
class Table:
    """A header and rows of as many cells."""

    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Page:
    """Tables and paragraphs, in the order in which they are read."""

    parts: list[str | Table]

    def render(
        self,
        format_table: Callable[[Sequence[str], Sequence[Sequence[str]]], str],
        format_text: Callable[[str], str] = str,
    ) -> str:
        """The page as text, with a blank line between its parts.

        Args:
            format_table: header and rows to lines.
            format_text: a line of a paragraph to one of the page.
        """
        return "\n\n".join(
            "\n".join(map(format_text, part.split("\n")))
            if isinstance(part, str)
            else format_table(part.header, part.rows)
            for part in self.parts
        )


def score_page(results: Mapping[str, Any]) -> Page:
    """The report on one system."""
    total, intervals = results["total"], results["intervals"]
    parts: list[str | Table] = [_figures_table("recording", [*results["files"], total])]
    if len(results["by_num_speakers"]) > 1:
        parts.append(_figures_table("reference speakers", results["by_num_speakers"], counted=True))
    notes = (
        f"Number of speakers: correct in {total['num_recordings_with_right_count']} of"
        f" {total['num_recordings']} recordings, off by {total['speaker_count_error']:.2f} on average."
    )
    if intervals is not None:
        rows = [
            [title, f"{100 * _rate(total, name):.2f}", _percent_interval(*intervals[name])]
            for name, title in _RATES.items()
            if name in intervals
        ]
        parts.append(Table(["total", "", "interval"], rows))
        notes = f"Intervals: {_interval_method(intervals, total)}.\n{notes}"
    return Page([*parts, "\n".join([notes, results["conditions"], *_notes(results)])])


def comparison_page(results: Mapping[str, Any]) -> Page:
    """The comparison of two systems."""
    other, comparison = results["compared_with"], results["comparison"]
    names = [name for name in _RATES if name in comparison]
    by_recording = Table(
        ["recording", *(f"{_RATES[name]} {what}" for name in names for what in ("A", "B", "A−B"))],
        [
            [of_a["recording"], *(cell for name in names for cell in _difference(of_a, of_b, name))]
            for of_a, of_b in zip(
                [*results["files"], results["total"]], [*other["files"], other["total"]], strict=True
            )
        ],
    )
    tested = Table(["total", "A", "B", "A−B", "interval of A−B", "p"], [])
    for name in names:
        test = comparison[name]
        sureness = ["", ""]
        if test is not None:
            sureness = [_percent_interval(test["low"], test["high"]), f"{test['p_value']:.4f}"]
        tested.rows.append([_RATES[name], *_difference(results["total"], other["total"], name), *sureness])
    explanations = ["A: {}. B: {}. Where A−B is positive, B has fewer errors.".format(*comparison["systems"])]
    tests = [comparison[name] for name in names if comparison[name] is not None]
    if tests:
        total = results["total"]
        is_exact = all(test["is_exact"] for test in tests)
        exchanges = f"all 2^{total['num_recordings']}" if is_exact else f"{comparison['resamples']} random"
        explanations += [
            f"Intervals, with the same recordings drawn for both: {_interval_method(comparison, total)}.",
            "p: permutation test, the share of exchanges of A and B within recordings"
            f" ({exchanges} exchanges) that give a difference at least as large.",
        ]
    oddities = _notes(results, " of A") + _notes(other, " of B")
    notes = [*explanations, results["conditions"], *dict.fromkeys(oddities)]
    return Page([by_recording, tested, "\n".join(notes)])


def as_csv(documents: Mapping[str, Mapping[str, Any]]) -> str:
    """Every row of every table, numbers unrounded: rates as fractions, times in seconds.

    Args:
        documents: by the name of the system.
    """
    rows = [
        {"system": system, "kind": kind, **_flat(row)}
        for system, document in documents.items()
        for kind, rows in (
            ("recording", document["files"]),
            ("number of speakers", document["by_num_speakers"]),
            ("total", [document["total"]]),
        )
        for row in rows
    ]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        flat |= (
            {f"{key}_{part}": each for part, each in value.items()}
            if isinstance(value, dict)
            else {key: value}
        )
    return flat


def _figures_table(what: str, rows: Iterable[Mapping[str, Any]], *, counted: bool = False) -> Table:
    rows = list(rows)
    has_nist = "nist" in rows[0]
    return Table(
        [
            *([what, "recordings"] if counted else [what]),
            *("speech s", "missed %", "false alarm %", "confusion %", "DER %"),
            *(["DER % ±0.25 s"] if has_nist else []),
            *("JER %", "purity %", "coverage %", "speakers ref/hyp", "off by"),
        ],
        [
            [
                row["recording"],
                *([str(row["num_recordings"])] if counted else []),
                f"{row['total_s']:.2f}",
                *(
                    _percent(row[part], row["total_s"])
                    for part in ("missed_s", "false_alarm_s", "confusion_s")
                ),
                f"{100 * row['der']:.2f}",
                *([f"{100 * row['nist']['der']:.2f}"] if has_nist else []),
                *(f"{100 * row[name]:.2f}" for name in ("jer", "purity", "coverage")),
                f"{row['num_speakers_reference']}/{row['num_speakers_hypothesis']}",
                f"{row['speaker_count_error']:.{0 if row['num_recordings'] == 1 else 2}f}",
            ]
            for row in rows
        ],
    )


def _percent(part_s: float, total_s: float) -> str:
    if total_s:
        return f"{100 * part_s / total_s:.2f}"
    return f"{part_s:.2f} s" if part_s else "0.00"  # no rate without reference speech: give the seconds


def _rate(row: Mapping[str, Any], name: str) -> float:
    rate: float = row["nist"]["der"] if name == "nist" else row[name]
    return rate


def _difference(of_a: Mapping[str, Any], of_b: Mapping[str, Any], name: str) -> list[str]:
    """A rate of both systems and its difference, in percent."""
    a, b = 100 * _rate(of_a, name), 100 * _rate(of_b, name)
    return [f"{a:.2f}", f"{b:.2f}", f"{round(a - b, 2) + 0.0:+.2f}"]  # + 0.0: no -0.00


def _percent_interval(low: float, high: float) -> str:
    return f"[{100 * low:.2f}, {100 * high:.2f}]"


def _interval_method(settings: Mapping[str, Any], total: Mapping[str, Any]) -> str:
    """How the intervals were computed."""
    num = total["num_recordings"]
    few = ", which are few: the intervals are rough" if num < _FEW_RECORDINGS else ""
    return (
        f"the middle {100 * settings['confidence']:g} % of {settings['resamples']} bootstrap resamples"
        f" (seed {settings['seed']}) of the {num} recordings{few}"
    )


def _notes(results: Mapping[str, Any], whose: str = "") -> list[str]:
    """Notes on the files that affect how the figures are to be read."""
    notes = []
    if not results["total"]["total_s"]:
        notes.append(
            "The scored reference contains no speech: the DER is 100 % if the hypothesis has any, else 0."
        )
    merged = results["with_merged_turns"]
    for side, recordings in (
        ("the reference", merged["reference"]),
        (f"the hypothesis{whose}", merged["hypothesis"]),
    ):
        if recordings:
            notes.append(
                f"In {side} turns of the same speaker overlap; such turns were merged:"
                f" {', '.join(recordings)}."
            )
    if results["without_hypothesis"]:
        notes.append(
            f"No hypothesis{whose}, counted as entirely missed: {', '.join(results['without_hypothesis'])}."
        )
    return notes
