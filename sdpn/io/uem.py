"""UEM: the regions of recordings that are scored, ``recording channel start end`` in seconds.

Why not ``pyannote.database.util.load_uem``: its errors have no line number, it mixes channels, does not
support comments, and drops a region that ends before it starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.text import numbered_lines, parse_seconds, require_id


def read_uem(path: str | os.PathLike[str]) -> dict[str, list[tuple[float, float]]]:
    """Read a UEM file, on whichever channel; see `read_uem_channels`.

    Returns:
        (start_s, end_s) by recording, in chronological order; regions may overlap, as in the file.
    """
    return {
        recording: sorted(span for spans in channels.values() for span in spans)
        for recording, channels in read_uem_channels(path).items()
    }


def read_uem_channels(path: str | os.PathLike[str]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Read a UEM file; ``;;`` comments and blank lines are skipped.

    Returns:
        (start_s, end_s) by recording and channel, in chronological order; regions may overlap, as in the
        file.

    Raises:
        InputError: the file is missing, empty, or not UTF-8, or a line is malformed (with its number).
    """
    regions: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for number, line in numbered_lines(path):
        if line.startswith(";;"):
            continue
        fields = line.split()
        if len(fields) != 4:
            raise InputError(
                f"expected 4 fields, found {len(fields)}",
                path=path,
                line=number,
                hint="recording channel start end",
            )
        start_s = parse_seconds(fields[2], "start", path=path, line=number)
        end_s = parse_seconds(fields[3], "end", path=path, line=number)
        if end_s <= start_s:
            raise InputError(
                f"the region runs from {start_s} to {end_s} s",
                path=path,
                line=number,
                hint="expected start < end",
            )
        regions.setdefault(fields[0], {}).setdefault(fields[1], []).append((start_s, end_s))
    if not regions:
        raise InputError(
            "contains no regions", path=path, hint="expected 'recording channel start end' lines"
        )
    for channels in regions.values():
        for spans in channels.values():
            spans.sort()
    return regions


def write_uem(path: str | os.PathLike[str], regions: Mapping[str, Iterable[tuple[float, float]]]) -> None:
    """Write (start_s, end_s) by recording, in the order given, with channel 1 and milliseconds.

    Raises:
        InputError: an id is empty or contains white space, or ``path`` cannot be written.
    """
    lines = []
    for recording, spans in regions.items():
        require_id(recording, "recording", path=path)
        lines += [f"{recording} 1 {start_s:.3f} {end_s:.3f}\n" for start_s, end_s in spans]
    atomic_write_text(path, "".join(lines))
