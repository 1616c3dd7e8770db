"""Names that clients give to recordings: shown and written into results, and never part of a path."""

from __future__ import annotations

import re

from sdpn.formats.names import as_field, as_file_name

#: Name of a recording without one.
UNNAMED = "recording"

#: Characters that are kept of a name.
_LONGEST = 120


def shown_name(given: str | None) -> str:
    r"""The name of an upload as it is kept: the last part of a path, on one line, of bounded length.

    >>> shown_name("../../etc/passwd"), shown_name(r"C:\calls\a b.wav"), shown_name("")
    ('passwd', 'a b.wav', 'recording')
    """
    last = re.split(r"[/\\]", given or "")[-1]
    return as_file_name(last)[:_LONGEST].strip("_. ") or UNNAMED if last.strip(". ") else UNNAMED


def recording_id(name: str) -> str:
    """The id of a recording in its results: the name without its suffix, and without white space."""
    stem, dot, suffix = name.rpartition(".")
    return as_field(stem if dot and stem and len(suffix) <= 5 else name)
