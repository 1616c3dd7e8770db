"""Names of speakers in formats that cannot hold every name: one rule for all.

What a format cannot hold becomes ``_``; if two speakers would then have one name, later ones get ``_2``,
``_3``, ... The JSON document keeps every name as it is.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Iterable

from sdpn.errors import InputError
from sdpn.io.text import is_encodable

_log = logging.getLogger(__name__)

#: What no line of text holds: control characters, line ends (U+2028 and U+2029 are two) and lone surrogates.
_NO_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


#: Longest name that a user may give, in characters.
_LONGEST = 1000


def given_name(name: str) -> str:
    """A name that a user gives, in Unicode's composed form: the same from any keyboard.

    Any characters may be in it but line ends and control characters.

    Raises:
        InputError: it is empty, too long, begins or ends with a blank, or holds such a character.
    """
    if not is_encodable(name):
        raise InputError(f"the name {name!r} is not valid text", hint="give it in UTF-8")
    name = unicodedata.normalize("NFC", name)
    if one_line(name) != name or not name:
        raise InputError(
            f"the name {name!r} is empty, begins or ends with a blank, or holds control characters",
            hint="expected one line of text",
        )
    if len(name) > _LONGEST:
        raise InputError(f"the name {name[:20]!r}... has {len(name)} characters; expected at most {_LONGEST}")
    return name


def one_line(name: str) -> str:
    """A name as a line of text."""
    return _NO_LINE.sub("_", name).strip() or "_"


def as_field(name: str) -> str:
    """A name as a field between blanks, as in RTTM."""
    return re.sub(r"[\s\ufeff]+", "_", one_line(name))


def without_markup(name: str) -> str:
    """A name where ``<b>`` and ``{\\an8}`` are commands to the player and cannot be escaped, as in SRT."""
    return re.sub(r"[<>{}]+", "_", one_line(name))


def as_file_name(name: str) -> str:
    """A name as that of a file in a folder, with room for a number and a suffix in 255 bytes."""
    fitting = re.sub(r'[/\\:*?"<>|]+', "_", one_line(name)).lstrip(".") or "_"
    return fitting.encode()[:200].decode(errors="ignore")


def fitting_names(
    names: Iterable[str],
    fit: Callable[[str], str],
    *,
    what: str,
    same: Callable[[str], str] = lambda name: name,
) -> dict[str, str]:
    """The names that a format can hold.

    Args:
        names: of speakers, each once.
        fit: replaces what the format cannot hold.
        what: the format, for the log.
        same: what two names have in common that the format takes for one, such as `str.casefold`.

    Returns:
        a different name for each; a name that fits as it is stays, whatever those are that do not.
    """
    names = list(dict.fromkeys(names))
    taken: set[str] = set()
    fitted = {}
    for name in sorted(names, key=lambda name: fit(name) != name):
        base = new = fit(name)
        number = 1
        while same(new) in taken:
            number += 1
            new = f"{base}_{number}"
        taken.add(same(new))
        if new != name:
            _log.info("%s cannot hold the name %r; it is written as %r", what, name, new)
        fitted[name] = new
    return {name: fitted[name] for name in names}
