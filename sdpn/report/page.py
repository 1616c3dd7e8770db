"""The page: the content of each section, filled into the templates, which escape every text."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn import __version__
from sdpn.io.html import data_uri, templates
from sdpn.report.alignment import ERROR_KINDS
from sdpn.report.curves import FRAME, draw_chart, histogram_line, scalar_line
from sdpn.report.events import EventLog, Picture
from sdpn.report.experiment import Experiment
from sdpn.report.guide import explain, groups_of, prefix_of, tag_order
from sdpn.report.recordings import align_recordings
from sdpn.report.results import Score, ScoredRecording
from sdpn.report.shown_paths import without_folders
from sdpn.report.summary import HEADER, SummaryRow, decimal, percent, summary_notes, summary_rows
from sdpn.report.timeline import css_class, draw_timeline

if TYPE_CHECKING:
    from jinja2 import Environment

#: Templates, styles and scripts.
ASSETS = Path(__file__).parent / "assets"

#: Maximum total size of images, in bytes, so that the page can be sent by mail.
_MOST_PICTURE_BYTES = 600_000

#: The baseline whose timeline is one bar per recording, drawn only if there is no other.
_NOT_DRAWN = "one-speaker"


def environment() -> Environment:
    """The templates, with the filters that they use."""
    found = templates(ASSETS)
    found.filters |= {"percent": percent, "css": css_class}
    found.globals |= {"kinds": ERROR_KINDS, "frame": FRAME}
    return found


def only_scripts(scripts: Sequence[str]) -> str:
    """The scripts that a browser may run, as a page's policy names them: none smuggled in by a name."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def build_page(experiment: Experiment) -> str:
    """Assemble the page.

    Returns:
        one self-contained HTML document.

    Raises:
        InputError: an RTTM or UEM file of a score is malformed.
    """
    script = (ASSETS / "page.js").read_text(encoding="utf-8")
    rows = summary_rows(experiment)
    scores = {label: (score, _worst_first(score)) for label, score in experiment.scores.items()}
    page = (
        environment()
        .get_template("page.html.j2")
        .render(
            name=experiment.name,
            made=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
            version=__version__,
            style=(ASSETS / "page.css").read_text(encoding="utf-8"),
            script=script,
            script_source=only_scripts([script]),
            cards=_cards(rows),
            header=HEADER,
            rows=[row.cells for row in rows],
            notes=summary_notes(experiment),
            benchmarks=experiment.benchmarks,
            scores=scores,
            timelines=_timelines(scores),
            training=_chart_groups(experiment.runs, "training"),
            prototypes=_chart_groups(experiment.runs, "prototypes"),
            pictures=_pictures(experiment.runs),
            # training configurations first: that of a model folder only has what inference needs
            configurations=sorted(
                ((path, without_folders(text)) for path, text in experiment.configurations.items()),
                key=lambda item: (Path(item[0]).parent.name == "model", item[0]),
            ),
            commands=[
                (f"{file.command} · {file.label}", shlex.join(map(without_folders, file.argv)))
                for file in experiment.results
            ],
        )
    )
    # a command may name files whose names are not UTF-8, which JSON carries and a page cannot
    return page.encode("utf-8", "replace").decode()


def _cards(rows: list[SummaryRow]) -> list[dict[str, Any]]:
    """The three headline figures, each above bars that compare it with the baselines."""

    def card(
        title: str,
        command: str,
        field: str,
        text: Callable[[float], str],
        parts: tuple[tuple[str, str], ...] = (),
        **more: str,
    ) -> dict[str, Any]:
        measured = [(row, getattr(row, field)) for row in rows if getattr(row, field) is not None]
        longest = max((value for _, value in measured), default=0.0) or 1.0
        bars = [
            (
                row.label,
                text(value),
                [
                    (css, 100 * getattr(row, part) / longest)
                    for css, part in parts or (("plain", field),)
                    if getattr(row, part)
                ],
            )
            for row, value in measured
        ]
        return {"title": title, "command": command, "bars": bars, "unit": "", "remark": "", **more}

    errors = tuple((css_class(kind), kind.replace(" ", "_")) for kind in ERROR_KINDS)
    speed = next((row.real_time_factor for row in rows if row.real_time_factor), None)
    remark = "" if speed is None else f"An hour of audio takes {spoken_duration(3600 * speed)}."
    return [
        card("Equal error rate, unseen speakers", "verify", "eer", percent, unit="%"),
        card("Diarization error rate", "score", "der", percent, errors, unit="%"),
        card(
            "Real-time factor", "diarize", "real_time_factor", lambda value: decimal(value, 4), remark=remark
        ),
    ]


def spoken_duration(seconds: float) -> str:
    """A duration for display: ``42 s``, ``1 min 53 s``, ``3 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _worst_first(score: Score) -> list[tuple[int, ScoredRecording]]:
    return sorted(enumerate(score.files), key=lambda item: (-item[1].share, item[1].recording))


def _timelines(
    scores: Mapping[str, tuple[Score, list[tuple[int, ScoredRecording]]]],
) -> list[dict[str, Any]]:
    """Per label: notes, and each recording drawn."""
    drawn = {label: score for label, score in scores.items() if label != _NOT_DRAWN} or scores
    panels = []
    for label, (score, files) in drawn.items():
        alignments, notes = align_recordings(score)
        recordings = [
            (number, file, draw_timeline(alignments[file.recording]))
            for number, file in files
            if file.recording in alignments
        ]
        panels.append({"label": label, "notes": notes, "recordings": recordings})
    return panels


def _chart_groups(runs: Mapping[str, EventLog], section: str) -> list[dict[str, Any]]:
    """The charts of one section: every scalar and every histogram that any run logged."""
    scalars = {tag for log in runs.values() for tag in log.scalars}
    histograms = {tag for log in runs.values() for tag in log.histograms}
    tags_of: dict[str, list[str]] = defaultdict(list)
    for tag in scalars | histograms:
        tags_of[prefix_of(tag)].append(tag)
    groups = []
    for group in groups_of(scalars | histograms):
        if group.section != section:
            continue
        charts = []
        for tag in sorted(tags_of[group.prefix], key=tag_order):
            for kind, tags, line_of, more in (
                ("scalars", scalars, scalar_line, ""),
                ("histograms", histograms, histogram_line, "Median, middle 50 % and middle 90 %."),
            ):
                if tag in tags:
                    lines = [
                        line_of(_run_name(run, runs), getattr(log, kind)[tag], style)
                        for style, (run, log) in enumerate(runs.items())
                        if tag in getattr(log, kind)
                    ]
                    charts.append(draw_chart(tag, lines, note=f"{explain(tag)} {more}".strip()))
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
    return data_uri("image/png", picture.encoded)


def _run_name(run: str, runs: Mapping[str, EventLog]) -> str:
    """A run needs a name only among several."""
    return "" if len(runs) == 1 else run or "(this folder)"
