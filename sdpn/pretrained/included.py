"""The models inside the package: a folder each, with a model card."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent

#: What each included model is.
ABOUT = {
    "fast": "learned from CAM++ on unlabelled speech; see its model card",
    "small": "trained without labels or a foreign teacher; see its model card",
    "base": "the same, three times as large; see its model card",
}

#: Names of the included models.
INCLUDED = tuple(ABOUT)

#: The included segmentation network, and what it is.
SEGMENTATION, ABOUT_SEGMENTATION = (
    "segmentation-small",
    "three speakers in 10 s, for overlap, from simulated conversations; see its model card",
)

#: The model that is taken where none is named.
SHIPPED = _HERE / "fast"


def included_path(name: str) -> Path:
    """Where an included model is."""
    return _HERE / name


def is_included(path: Path) -> bool:
    """Whether a model is one of the package's."""
    return path.parent == _HERE and path.name in INCLUDED
