"""UEM: the regions of recordings that are scored, ``recording channel start end`` in seconds."""

from __future__ import annotations

import os

from sdpn.errors import InputError
from sdpn.io.text import numbered_lines, parse_seconds


def read_uem(path: str | os.PathLike[str]) -> dict[str, list[tuple[float, float]]]:
    """Read a UEM file; ``;;`` comments and blank lines are skipped, the channel is ignored.

    Returns:
        (start_s, end_s) by recording, in the order of time; regions may overlap, as in the file.

    Raises:
        InputError: the file is missing, empty, or not UTF-8, or a line is malformed (with its number).
    """
    regions: dict[str, list[tuple[float, float]]] = {}
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
        regions.setdefault(fields[0], []).append((start_s, end_s))
    if not regions:
        raise InputError("holds no regions", path=path, hint="expected 'recording channel start end' lines")
    for spans in regions.values():
        spans.sort()
    return regions
