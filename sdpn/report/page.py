"""The page: the content of each section, filled into the template."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sdpn import __version__
from sdpn.report.alignment import ERROR_KINDS
from sdpn.report.axis import spoken_duration
from sdpn.report.curves import draw_chart, histogram_line, scalar_line
from sdpn.report.events import EventLog, Picture
from sdpn.report.experiment import Experiment
from sdpn.report.guide import explain, groups_of, prefix_of, tag_order
from sdpn.report.recordings import align_recordings
from sdpn.report.results import ErrorSeconds, Score, ScoredRecording
from sdpn.report.summary import HEADER, decimal, percent, summary_notes, summary_rows
from sdpn.report.timeline import ERROR_CLASS, draw_timeline

_ASSETS = Path(__file__).parent / "assets"

#: Maximum total size of images, in bytes, so that the page can be sent by mail.
_MOST_PICTURE_BYTES = 600_000

#: The baseline whose timeline is one bar per recording, drawn only if there is no other.
_NOT_DRAWN = "one-speaker"


def build_page(experiment: Experiment) -> str:
    """Assemble the page.

    Returns:
        one self-contained HTML document.

    Raises:
        InputError: an RTTM or UEM file of a score is malformed.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (_ASSETS / "page.js").read_text(encoding="utf-8")
    # the one script that a browser may run, so that nothing smuggled in by a name can
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("page.html.j2").render(
        name=experiment.name,
        made=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        version=__version__,
        style=(_ASSETS / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_digest=digest,
        cards=_cards(experiment),
        header=HEADER,
        rows=[row.cells for row in summary_rows(experiment)],
        notes=summary_notes(experiment),
        kinds=[(kind, ERROR_CLASS[kind]) for kind in ERROR_KINDS],
        recordings=_recording_table(experiment.scores),
        timelines=_timelines(experiment.scores),
        training=_chart_groups(experiment.runs, "training"),
        prototypes=_chart_groups(experiment.runs, "prototypes"),
        pictures=_pictures(experiment.runs),
        configurations=_configurations(experiment.configurations),
        commands=[(f"{file.command} · {file.label}", shlex.join(file.argv)) for file in experiment.results],
    )
    # a command may name files whose names are not UTF-8, which JSON carries and a page cannot
    return page.encode("utf-8", "replace").decode()


def _cards(experiment: Experiment) -> list[dict[str, Any]]:
    """The three headline figures, each above bars that compare it with the baselines."""
    rows = summary_rows(experiment)
    errors = {
        label: [
            (ERROR_CLASS[kind], part)
            for kind, part in zip(ERROR_KINDS, (row.missed, row.false_alarm, row.confusion), strict=True)
            if part is not None
        ]
        for label, row in ((row.label, row) for row in rows)
    }
    faster = next((row.real_time_factor for row in rows if row.real_time_factor), None)
    return [
        _card(
            "Equal error rate, unseen speakers",
            "%",
            [(row.label, row.eer, percent(row.eer), [("plain", row.eer)]) for row in rows],
            "Not measured: sdpn verify … --json EXP/results/verify.trained.json",
        ),
        _card(
            "Diarization error rate",
            "%",
            [(row.label, row.der, percent(row.der), errors[row.label]) for row in rows],
            "Not measured: sdpn score … --json EXP/results/score.trained.json",
        ),
        _card(
            "Real-time factor",
            "",
            [
                (
                    row.label,
                    row.real_time_factor,
                    decimal(row.real_time_factor, 4),
                    [("plain", row.real_time_factor)],
                )
                for row in rows
            ],
            "Not measured: sdpn diarize … --json EXP/results/diarize.trained.json",
            remark="" if faster is None else f"An hour of audio takes {spoken_duration(3600 * faster)}.",
        ),
    ]


def _card(
    title: str,
    unit: str,
    measured: Sequence[tuple[str, float | None, str, Sequence[tuple[str, float | None]]]],
    missing: str,
    remark: str = "",
) -> dict[str, Any]:
    """A figure and its bars; ``measured`` is (label, value, value as text, [(CSS class, part)])."""
    known = [(label, value, text, parts) for label, value, text, parts in measured if value is not None]
    longest = max((value for _, value, _, _ in known), default=0.0) or 1.0
    return {
        "title": title,
        "unit": unit,
        "value": known[0][2] if known else None,
        "label": known[0][0] if known else "",
        "remark": remark,
        "missing": missing,
        "bars": [
            (label, text, [(css, f"{100 * part / longest:.2f}") for css, part in parts if part])
            for label, _, text, parts in known
        ],
    }


def _recording_table(scores: Mapping[str, Score]) -> dict[str, Any] | None:
    """The DER of each recording of the first label, beside that of the other labels."""
    if not scores:
        return None
    label, score = next(iter(scores.items()))
    others = {
        other: {file.recording: file.errors.der for file in its.files}
        for other, its in scores.items()
        if other != label
    }
    # one recording with little speech and many false alarms must not flatten the bars of all others
    longest = min(max((_error_share(file.errors) for file in score.files), default=0.0) or 1.0, 1.0)
    rows = []
    for number, file in _worst_first(score.files):
        errors = file.errors
        parts = zip(ERROR_KINDS, (errors.missed_s, errors.false_alarm_s, errors.confusion_s), strict=True)
        width = max(longest, _error_share(errors))
        rows.append(
            {
                "name": file.recording,
                "anchor": f"t0-{number}",
                "sort": _sort_key(errors),
                "der": percent(errors.der, 1),
                "cut": width > longest,
                "parts": [
                    (
                        ERROR_CLASS[kind],
                        kind,
                        f"{seconds:.2f}",
                        f"{100 * (errors.rate(seconds) or 0) / width:.2f}",
                    )
                    for kind, seconds in parts
                ],
                "total": f"{errors.total_s:.1f}",
                "found": file.num_speakers_hypothesis,
                "expected": file.num_speakers_reference,
                "others": [percent(ders.get(file.recording), 1) for ders in others.values()],
            }
        )
    total = score.total
    return {
        "label": label,
        "others": list(others),
        "rows": rows,
        "scale": percent(longest, 0),
        "all": [
            percent(total.der, 1),
            "",
            *(f"{seconds:.2f}" for seconds in (total.missed_s, total.false_alarm_s, total.confusion_s)),
            f"{total.total_s:.1f}",
            "",
            *(percent(scores[other].total.der, 1) for other in others),
        ],
    }


def _timelines(scores: Mapping[str, Score]) -> list[dict[str, Any]]:
    """Per label: notes, and each recording drawn."""
    drawn = {label: score for label, score in scores.items() if label != _NOT_DRAWN} or scores
    panels = []
    for index, (label, score) in enumerate(drawn.items()):
        alignments, notes = align_recordings(score)
        recordings = []
        for number, file in _worst_first(score.files):
            if file.recording not in alignments:
                continue
            caption = _in_words(file)
            recordings.append(
                {
                    "name": file.recording,
                    "anchor": f"t{index}-{number}",
                    "sort": _sort_key(file.errors),
                    "der": percent(file.errors.der, 1),
                    "caption": caption,
                    "picture": draw_timeline(
                        alignments[file.recording],
                        description=f"Who spoke when in {file.recording}: {caption}",
                    ),
                }
            )
        panels.append({"label": label, "id": f"timelines-{index}", "notes": notes, "recordings": recordings})
    return panels


def _in_words(file: ScoredRecording) -> str:
    errors = file.errors
    found = file.num_speakers_hypothesis
    return (
        f"missed {errors.missed_s:.2f} s, false alarm {errors.false_alarm_s:.2f} s, "
        f"confusion {errors.confusion_s:.2f} s of {errors.total_s:.1f} s; {found} "
        f"speaker{'' if found == 1 else 's'} found, {file.num_speakers_reference} in the reference"
    )


def _worst_first(files: Sequence[ScoredRecording]) -> list[tuple[int, ScoredRecording]]:
    return sorted(enumerate(files), key=lambda item: (-_error_share(item[1].errors), item[1].recording))


def _sort_key(errors: ErrorSeconds) -> str:
    return f"{_error_share(errors):.6f}"


def _error_share(errors: ErrorSeconds) -> float:
    """The DER, with 0 where it is not defined."""
    return errors.der or 0.0


def _chart_groups(runs: Mapping[str, EventLog], section: str) -> list[dict[str, Any]]:
    """The charts of one section: every scalar and every histogram that any run logged."""
    scalars = {tag for log in runs.values() for tag in log.scalars}
    histograms = {tag for log in runs.values() for tag in log.histograms}
    groups = []
    for group in groups_of(scalars | histograms):
        if group.section != section:
            continue
        charts = []
        for tag in sorted(
            (tag for tag in scalars | histograms if prefix_of(tag) == group.prefix), key=tag_order
        ):
            if tag in scalars:
                lines = [
                    scalar_line(_run_name(run, runs), log.scalars[tag], style)
                    for style, (run, log) in enumerate(runs.items())
                    if tag in log.scalars
                ]
                charts.append(draw_chart(tag, lines, note=explain(tag)))
            if tag in histograms:
                lines = [
                    histogram_line(_run_name(run, runs), log.histograms[tag], style)
                    for style, (run, log) in enumerate(runs.items())
                    if tag in log.histograms
                ]
                note = f"{explain(tag)} Median, middle 50 % and middle 90 %.".strip()
                charts.append(draw_chart(tag, lines, note=note))
        groups.append({"title": group.title, "reading": group.reading, "charts": charts})
    return groups


def _pictures(runs: Mapping[str, EventLog]) -> list[dict[str, Any]]:
    """The first and the last picture of each tag and run."""
    shown, size = [], 0
    for run, log in runs.items():
        for tag, series in sorted(log.pictures.items()):
            steps = sorted({min(series), max(series)})
            frames = []
            for step in steps:
                size += len(series[step].encoded)
                frames.append((step, _data_uri(series[step]) if size <= _MOST_PICTURE_BYTES else None))
            name = _run_name(run, runs)
            shown.append(
                {"title": f"{tag} ({name})" if name else tag, "reading": explain(tag), "frames": frames}
            )
    return shown


def _data_uri(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.encoded).decode()


def _run_name(run: str, runs: Mapping[str, EventLog]) -> str:
    """A run needs a name only among several."""
    return "" if len(runs) == 1 else run or "(this folder)"


def _configurations(texts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Training configurations first: that of a model folder only has what inference needs."""
    return sorted(texts.items(), key=lambda item: (Path(item[0]).parent.name == "model", item[0]))
