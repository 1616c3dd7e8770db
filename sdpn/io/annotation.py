"""pyannote's type for turns, which a notebook shows as a timeline."""

from __future__ import annotations

from pyannote.core import Annotation

from sdpn.io.turns_html import turns_html


class ShownAnnotation(Annotation):
    """A `pyannote.core.Annotation` in every respect, but for what a notebook shows of it.

    pyannote draws pictures with matplotlib, which may want a display; this is HTML.
    """

    _repr_png_ = None

    def _repr_html_(self) -> str:
        """The turns as a timeline."""
        return turns_html(
            [(turn.start, turn.end, str(who)) for turn, _, who in self.itertracks(yield_label=True)],
            name="" if self.uri is None else str(self.uri),
        )
