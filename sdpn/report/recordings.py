"""The recordings of a score, aligned again from its RTTM files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sdpn.io.rttm import Records, read_records
from sdpn.io.uem import read_uem_channels
from sdpn.metrics.channels import match_channels
from sdpn.report.alignment import Alignment, align
from sdpn.report.results import ErrorSeconds, Score
from sdpn.report.shown_paths import shown_path

#: Tolerance between the drawn and the scored errors, in seconds.
_TOLERANCE_S = 0.01


def align_recordings(score: Score) -> tuple[dict[str, Alignment], list[str]]:
    """Align every recording of a score, under the conditions of that score.

    Returns:
        alignments by recording, none if the files no longer exist; and sentences about files that no longer
        exist or have changed since scoring.

    Raises:
        InputError: an RTTM or UEM file is malformed.
    """
    files = [*score.reference, *score.hypothesis, *([] if score.uem is None else [score.uem])]
    gone = [path for path in files if not path.is_file()]
    if gone:
        lost = shown_path(str(gone[0])) + (f" and {len(gone) - 1} more" if len(gone) > 1 else "")
        return {}, [f"The timelines cannot be drawn: {lost} no longer exists. Run sdpn score again."]
    sides = match_channels(
        _records(score.reference),
        _records(score.hypothesis),
        None if score.uem is None else read_uem_channels(score.uem),
    )
    alignments: dict[str, Alignment] = {}
    changed = []
    for file in score.files:
        alignment = align(
            sides.reference.get(file.recording, ()),
            sides.hypothesis.get(file.recording, ()),
            uem=None if sides.regions is None else sides.regions.get(file.recording, ()),
            unscored=sides.unscored.get(file.recording, ()),
            collar_s=score.collar_s,
            skip_overlap=score.skip_overlap,
        )
        alignments[file.recording] = alignment
        if not _agree(alignment, file):
            changed.append(file.recording)
    notes = []
    if changed:
        notes.append(
            f"The RTTM or UEM files have changed since they were scored ({', '.join(changed[:5])}"
            f"{', …' if len(changed) > 5 else ''}): the timelines do not match the DER. Run sdpn score again."
        )
    return alignments, notes


def _records(paths: Sequence[Path]) -> Records:
    return read_records(dict.fromkeys(paths))


def _agree(alignment: Alignment, errors: ErrorSeconds) -> bool:
    return all(
        abs(alignment.error_seconds(kind) - seconds) <= _TOLERANCE_S
        for kind, seconds in errors.parts_s.items()
    )
