"""The formats that turns are written in, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from sdpn.errors import InputError
from sdpn.formats.annotations import write_elan, write_textgrid
from sdpn.formats.json_document import write_json
from sdpn.formats.subtitles import write_srt, write_vtt
from sdpn.formats.tables import write_as_rttm, write_audacity, write_csv
from sdpn.formats.who_spoke_when import WhoSpokeWhen


class TurnFormat(NamedTuple):
    """A format of turns.

    Attributes:
        suffix: of its files.
        write: writes a file of it.
    """

    suffix: str
    write: Callable[[Path, WhoSpokeWhen], None]


TURN_FORMATS: Mapping[str, TurnFormat] = MappingProxyType(
    {
        "rttm": TurnFormat(".rttm", write_as_rttm),
        "json": TurnFormat(".json", write_json),
        "csv": TurnFormat(".csv", write_csv),
        "srt": TurnFormat(".srt", write_srt),
        "vtt": TurnFormat(".vtt", write_vtt),
        "audacity": TurnFormat(".txt", write_audacity),
        "textgrid": TurnFormat(".TextGrid", write_textgrid),
        "elan": TurnFormat(".eaf", write_elan),
    }
)


def find_formats(names: Sequence[str]) -> tuple[str, ...]:
    """Check the names of formats.

    Returns:
        each once, in the order of `TURN_FORMATS`.

    Raises:
        InputError: there is none, or one is unknown.
    """
    return chosen_formats(names, TURN_FORMATS, "turns")


def chosen_formats(names: Sequence[str], known: Mapping[str, object], what: str) -> tuple[str, ...]:
    """Check the names of formats against a table of them.

    Args:
        names: those that were asked for.
        known: the table.
        what: what they are formats of, for messages.

    Returns:
        each once, in the order of the table.

    Raises:
        InputError: there is none, or one is unknown.
    """
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise InputError(
            f"unknown format of {what} {unknown[0]!r}" if unknown else f"no format of {what} is given",
            hint=f"expected one or several of {','.join(known)}",
        )
    return tuple(name for name in known if name in names)


def write_turns(spoken: WhoSpokeWhen, files: Mapping[str, Path]) -> None:
    """Write turns in one or several formats, each file complete or not at all.

    >>> write_turns(spoken, {"srt": Path("meeting.srt"), "elan": Path("meeting.eaf")})

    Args:
        spoken: the turns.
        files: what to write, by name of the format.

    Raises:
        InputError: a format is unknown, or a file cannot be written.
    """
    for name in find_formats(list(files)):
        TURN_FORMATS[name].write(files[name], spoken)
