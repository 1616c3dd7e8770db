"""What is written about a recording, whatever the format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sdpn.io.rttm import Turn, merge_overlaps
from sdpn.io.turns_html import turns_html


@dataclass(frozen=True, kw_only=True)
class WhoSpokeWhen:
    """The turns of a recording, and what only some formats can hold.

    Attributes:
        recording: its id.
        audio: its file; None for standard input and samples.
        duration_s: its length in seconds.
        turns: turns in order of time; they may overlap.
        exclusive: the same with one speaker at a time.
        details: further keys of the JSON document, such as ``receipt``.
        of_speakers: further keys of a speaker in the JSON document, such as ``embedding``.
    """

    recording: str
    audio: Path | None
    duration_s: float
    turns: Sequence[Turn]
    exclusive: Sequence[Turn]
    details: Mapping[str, Any] = field(default_factory=dict)
    of_speakers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def with_more(
        self, *, of_speakers: Mapping[str, Mapping[str, Any]], details: Mapping[str, Any]
    ) -> WhoSpokeWhen:
        """Add keys of speakers and of the document."""
        names = dict.fromkeys([*self.of_speakers, *of_speakers])
        merged = {name: {**self.of_speakers.get(name, {}), **of_speakers.get(name, {})} for name in names}
        return replace(self, of_speakers=merged, details={**self.details, **details})

    @property
    def speakers(self) -> list[str]:
        """The speakers in the order of their first turns."""
        return list(dict.fromkeys(turn.speaker for turn in sorted(self.turns)))

    def _repr_html_(self) -> str:
        """The turns as a timeline, in a notebook."""
        spans = [(turn.onset_s, turn.end_s, turn.speaker) for turn in self.turns]
        return turns_html(spans, name=self.recording, duration_s=self.duration_s)

    def turns_of(self, speaker: str) -> list[Turn]:
        """The turns of a speaker in order of time, without overlap among themselves."""
        turns = sorted(turn for turn in self.turns if turn.speaker == speaker)
        return merge_overlaps([Turn(t.recording, t.onset_s, t.duration_s, t.speaker) for t in turns])
