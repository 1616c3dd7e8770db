"""Who spoke when as a JSON document, the one format that holds everything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdpn.formats.who_spoke_when import WhoSpokeWhen
from sdpn.io.atomic import atomic_write_text
from sdpn.io.rttm import Turn, rounded
from sdpn.io.text import is_encodable

#: The version of the document.
SCHEMA = "sdpn.turns/1"


def json_document(spoken: WhoSpokeWhen) -> dict[str, Any]:
    """The document.

    Returns:
        ``schema``, ``recording``, ``audio``, ``duration_s``, ``speakers`` (talk time and its share of all
        talk time, number of turns), ``turns``, ``exclusive_turns``, and the keys of ``spoken.details``. Times
        are in seconds, with milliseconds.
    """
    turns_of = {speaker: rounded(spoken.turns_of(speaker)) for speaker in spoken.speakers}
    talk_s = {speaker: sum(turn.duration_s for turn in turns) for speaker, turns in turns_of.items()}
    total_s = sum(talk_s.values())
    return {
        "schema": SCHEMA,
        "recording": spoken.recording,
        "audio": None if spoken.audio is None else str(spoken.audio),
        "duration_s": round(spoken.duration_s, 3),
        "speakers": [
            {
                "speaker": speaker,
                "talk_s": round(talk_s[speaker], 3),
                "share": round(talk_s[speaker] / total_s, 4) if total_s else 0.0,
                "num_turns": len(turns_of[speaker]),
                **spoken.of_speakers.get(speaker, {}),
            }
            for speaker in spoken.speakers
        ],
        "turns": _rows(spoken.turns),
        "exclusive_turns": _rows(spoken.exclusive),
        **spoken.details,
    }


def write_json(path: Path, spoken: WhoSpokeWhen) -> None:
    """Write the document."""
    document = json_document(spoken)
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    if not is_encodable(text):  # the name of a file that is not UTF-8
        text = json.dumps(document, indent=1, allow_nan=False)
    atomic_write_text(path, text + "\n")


def _rows(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    return [
        {
            "start_s": round(turn.onset_s, 3),
            "end_s": round(turn.end_s, 3),
            "speaker": turn.speaker,
            "channel": turn.channel,
            "confidence": None if turn.confidence is None else round(turn.confidence, 4),
        }
        for turn in rounded(turns)
    ]
