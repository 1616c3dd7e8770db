"""Paths as a report shows them: without the folders of the machine on which it was made."""

from __future__ import annotations

import re

#: Where an absolute path begins (POSIX, Windows with a drive or a share, file:///) and how far it goes.
#: Blanks are part of it: a report should rather lose a word than show a folder.
_ABSOLUTE = re.compile(
    r"""(?<![\w.…/\\<>-]) (?: [A-Za-z]:[/\\]+ | \\\\+ | /// | / ) (?=[^\s/\\])
        [^\n"',;:|\[\]{}]+""",
    re.VERBOSE,
)


def shown_path(path: str) -> str:
    """A path; an absolute one keeps its last two parts, or its last if there are no others.

    >>> shown_path("/home/anna/corpora/train")
    '…/corpora/train'
    >>> shown_path("/tmp/train"), shown_path("exp/mini")
    ('…/train', 'exp/mini')
    """
    return _ending(path) if _ABSOLUTE.match(path) else path


def without_folders(text: str) -> str:
    """A text, such as a word of a command line or a configuration, with every absolute path shortened."""
    return _ABSOLUTE.sub(lambda found: _ending(found[0]), text)


def _ending(path: str) -> str:
    parts = [part for part in re.split(r"[/\\]+", path) if part]
    return "/".join(["…", *(parts[-2:] if len(parts) > 2 else parts[-1:])])
