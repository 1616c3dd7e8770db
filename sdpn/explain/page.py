"""One self-contained page: sections with figures, tables and sounds, in templates that escape every text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sdpn import __version__
from sdpn.io.html import data_uri, templates

_ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class PageFigure:
    """A picture.

    Attributes:
        title: above it.
        png: the picture.
        reading: how to read it, below it.
    """

    title: str
    png: bytes
    reading: str = ""

    @property
    def uri(self) -> str:
        """The picture as part of the page."""
        return data_uri("image/png", self.png)


@dataclass(frozen=True)
class PageTable:
    """A table: the first cell of a row names it.

    Attributes:
        title: above it.
        header: of every column.
        rows: cells as text.
        reading: how to read it, below it.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    reading: str = ""


@dataclass(frozen=True)
class PageSound:
    """Audio that can be played.

    Attributes:
        title: beside it.
        mp3: the file.
    """

    title: str
    mp3: bytes

    @property
    def uri(self) -> str:
        """The audio as part of the page."""
        return data_uri("audio/mpeg", self.mp3)


@dataclass(frozen=True)
class PageSection:
    """A part of the page.

    Attributes:
        title: its heading.
        notes: paragraphs, first.
        tables: then tables,
        figures: then pictures,
        sounds: then audio.
        warnings: what is not to be trusted, before everything else.
    """

    title: str
    notes: Sequence[str] = ()
    tables: Sequence[PageTable] = ()
    figures: Sequence[PageFigure] = ()
    sounds: Sequence[PageSound] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class ExplainPage:
    """A whole page.

    Attributes:
        title: its heading.
        sections: its parts.
        links: further pages in the same folder, (title, file name).
        subtitle: below the heading.
    """

    title: str
    sections: Sequence[PageSection]
    links: Sequence[tuple[str, str]] = field(default=())
    subtitle: str = ""

    def html(self) -> str:
        """The document."""
        page = (
            templates(_ASSETS)
            .get_template("explain.html.j2")
            .render(
                page=self,
                version=__version__,
                made=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
                style=(_ASSETS / "explain.css").read_text(encoding="utf-8"),
            )
        )
        return page.encode("utf-8", "replace").decode()


def pictures_of(page: ExplainPage) -> dict[str, bytes]:
    """The pictures of a page by tag, for TensorBoard: ``section/figure``."""
    return {
        f"{section.title}/{figure.title}": figure.png
        for section in page.sections
        for figure in section.figures
    }
