"""Classes of the phones that a synthesiser names in ASCII mnemonics, after Kirshenbaum."""

from __future__ import annotations

import re

#: First matching pattern -> class; stress marks and lengths are taken off before.
_CLASSES = (
    ("pause", r"_.*|;|\|"),
    ("nasal", r"[mnNM].*|n\^"),
    ("stop", r"[pbtdkgc?].?|t2|d2"),
    ("fricative", r"[fvszSZTDhxC].*"),
    ("approximant", r"[lrjw].*|R.*"),
    ("vowel", r"[aeiouAEIOUV0@3L].*"),
)
#: Affricates begin like stops.
_AFFRICATES = ("tS", "dZ", "ts", "dz")
_VOICED = re.compile(r"[mnNlrjwRvzZDbdgaeiouAEIOUV0@3L]")


def phone_class(phone: str) -> str:
    """``vowel``, ``approximant``, ``nasal``, ``fricative``, ``stop``, ``affricate``, or ``pause``."""
    name = plain_phone(phone)
    if name.startswith(_AFFRICATES):
        return "affricate"
    return next((kind for kind, pattern in _CLASSES if re.fullmatch(pattern, name)), "pause")


def plain_phone(phone: str) -> str:
    """A phone without stress (``'``, ``,``, ``%``, ``=``)."""
    return phone.strip("',%=") or "_"


def is_voiced_phone(phone: str) -> bool:
    """Whether the vocal folds vibrate in it."""
    return _VOICED.match(plain_phone(phone)) is not None
