"""A page to see and hear who spoke when: one self-contained HTML file for each recording."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from sdpn import __version__
from sdpn.diarization.outputs import LabelledChannel
from sdpn.formats.who_spoke_when import WhoSpokeWhen
from sdpn.io.atomic import atomic_path, atomic_write_text
from sdpn.io.rttm import Turn
from sdpn.report.alignment import ERROR_KINDS, Alignment, Lane, align
from sdpn.report.listening import Listening, listen
from sdpn.report.page import ASSETS, environment, only_scripts, spoken_duration
from sdpn.report.timeline import NUM_SPEAKER_COLOURS, draw_timeline
from sdpn.report.window_views import similarities, window_map

#: Longer recordings are played from a file beside the page, which would weigh over 15 MB with them.
_LONGEST_EMBEDDED_S = 5400.0

#: Suffix of that file in place of the page's: a recording of a user may be called like the page.
SOUND_SUFFIX = ".sound.ogg"

#: Turns below this confidence are marked.
_UNSURE = 0.6

#: Turns shorter than this, or closer to each other, are drawn as one.
_FINEST_S = 0.02


def write_recording_page(
    path: Path,
    spoken: WhoSpokeWhen,
    channels: Sequence[LabelledChannel],
    *,
    reference: Sequence[Turn] | None = None,
    keep_truncated: bool = False,
) -> None:
    """Write the page of a recording; beside it, for one longer than an hour and a half, its audio.

    Args:
        path: the page; the audio has the same name and ends in ``.sound.ogg``.
        spoken: who spoke when.
        channels: the recording's channels with their window embeddings.
        reference: the true turns, which are shown with every error.
        keep_truncated: use a truncated file as far as it goes.

    Raises:
        InputError: the audio cannot be read again, or a file cannot be written.
    """
    heard = beside = None
    if spoken.audio is not None:
        channel = channels[0].embedded.channel if len(channels) == 1 else None
        if spoken.duration_s > _LONGEST_EMBEDDED_S:
            beside = path.with_suffix(SOUND_SUFFIX)
        with nullcontext() if beside is None else atomic_path(beside) as sound:
            heard = listen(spoken.audio, sound=sound, channel=channel, keep_truncated=keep_truncated)
    atomic_write_text(path, build_recording_page(spoken, channels, heard, reference=reference, beside=beside))


def build_recording_page(
    spoken: WhoSpokeWhen,
    channels: Sequence[LabelledChannel],
    heard: Listening | None,
    *,
    reference: Sequence[Turn] | None = None,
    beside: Path | None = None,
) -> str:
    """Assemble the page.

    Args:
        spoken: who spoke when.
        channels: the recording's channels with their window embeddings.
        heard: waveform and audio; None where the recording cannot be read a second time.
        reference: the true turns.
        beside: file that holds the audio; None embeds it.

    Returns:
        one HTML document, which needs no network.
    """
    alignment = _alignment(spoken, reference)
    # colours and numbers of speakers are those of the lanes
    speakers = [lane.hypothesis for lane in alignment.lanes if lane.hypothesis is not None]
    colours = [
        f"s{number % NUM_SPEAKER_COLOURS}" if lane.reference is not None or reference is None else "unmatched"
        for number, lane in enumerate(alignment.lanes)
        if lane.hypothesis is not None
    ]
    data = {
        "duration": spoken.duration_s,
        "peaks": None if heard is None else _base64(heard.peaks_P.tobytes()),
        "audio": None if beside is None else beside.name,
        "speakers": speakers,
        "colours": colours,
        "turns": [
            [round(turn.onset_s, 3), round(turn.end_s, 3), speakers.index(turn.speaker), _sure(turn)]
            for turn in sorted(spoken.turns)
        ],
        **_windows(channels, speakers),
    }
    scripts = [
        ("text/javascript", (ASSETS / name).read_text(encoding="utf-8"))
        for name in ("wavesurfer.min.js", "recording.js")
    ]
    page = (
        environment()
        .get_template("recording.html.j2")
        .render(
            name=spoken.recording,
            duration=spoken_duration(spoken.duration_s),
            version=__version__,
            style="\n".join(
                (ASSETS / name).read_text(encoding="utf-8") for name in ("page.css", "recording.css")
            ),
            scripts=[text for _, text in scripts],
            script_source=only_scripts([text for _, text in scripts]),
            licence=(ASSETS / "wavesurfer.LICENSE").read_text(encoding="utf-8"),
            data=_json(data),
            opus=[] if heard is None or heard.opus is None else _chunks(heard.opus),
            can_be_heard=heard is not None,
            timeline=draw_timeline(alignment, finest_s=_FINEST_S, unsure=_unsure(spoken)),
            talk=_talk(spoken, speakers, colours),
            errors=None if reference is None else _errors(alignment, reference),
            counts=_counts(spoken),
            forecasts=[one for one in spoken.details.get("forecasts", ()) if one["der"] is not None],
            num_windows=sum(len(channel.embedded.emb_ND) for channel in channels),
        )
    )
    return page.encode("utf-8", "replace").decode()


def _alignment(spoken: WhoSpokeWhen, reference: Sequence[Turn] | None) -> Alignment:
    """Turns as lanes over the whole recording, beside the reference if there is one."""
    if reference is not None:
        return align(reference, spoken.turns, uem=[(0.0, spoken.duration_s)])
    spans = {
        speaker: tuple((turn.onset_s, turn.end_s) for turn in spoken.turns_of(speaker))
        for speaker in spoken.speakers
    }
    return Alignment(
        lanes=tuple(Lane(None, speaker, (), spans[speaker]) for speaker in spoken.speakers),
        errors=(),
        not_scored=(),
        start_s=0.0,
        end_s=spoken.duration_s,
    )


def _windows(channels: Sequence[LabelledChannel], speakers: Sequence[str]) -> dict[str, Any]:
    """The map and the similarities of the windows."""
    if not sum(len(channel.embedded.emb_ND) for channel in channels):
        return {"map": None, "similarity": None}
    emb_ND = np.concatenate([channel.embedded.emb_ND for channel in channels])
    times_N2 = np.concatenate([channel.embedded.windows.times_N2 for channel in channels])
    speakers_N = np.concatenate([_speakers_of_windows(channel, speakers) for channel in channels])
    places = window_map(emb_ND, times_N2, speakers_N)
    alike = similarities(emb_ND, times_N2, speakers_N)
    return {
        "map": {
            "times": places.times_N2.round(2).tolist(),
            "speakers": places.speakers_N.tolist(),
            "xy": places.xy_N2.round(4).tolist(),
            "is_projection": places.is_projection,
        },
        "similarity": {
            "times": alike.times_M2.round(2).tolist(),
            "speakers": alike.speakers_M.tolist(),
            "low": alike.low,
            "cosine": _base64(alike.cosine_MM.tobytes()),
        },
    }


def _speakers_of_windows(channel: LabelledChannel, speakers: Sequence[str]) -> np.ndarray:
    """Number of the speaker at the middle of each window (N,), -1 for none."""
    middle_N = channel.embedded.windows.times_N2.mean(axis=1)
    turns = sorted(channel.exclusive)
    if not turns:
        return np.full(len(middle_N), -1)
    at_N = np.searchsorted([turn.onset_s for turn in turns], middle_N, side="right") - 1
    ends = np.array([turn.end_s for turn in turns])
    numbers = np.array([speakers.index(turn.speaker) if turn.speaker in speakers else -1 for turn in turns])
    return np.where((at_N >= 0) & (middle_N < ends[at_N]), numbers[at_N], -1)


def _talk(spoken: WhoSpokeWhen, speakers: Sequence[str], colours: Sequence[str]) -> list[dict[str, Any]]:
    """Talk time of each speaker, the longest first."""
    turns_of = {speaker: spoken.turns_of(speaker) for speaker in speakers}
    seconds = {speaker: sum(turn.duration_s for turn in turns) for speaker, turns in turns_of.items()}
    total = sum(seconds.values()) or 1.0
    rows = [
        {
            "number": number,
            "speaker": speaker,
            "colour": colour,
            "seconds": seconds[speaker],
            "talk": spoken_duration(seconds[speaker]),
            "share": seconds[speaker] / total,
            "turns": len(turns_of[speaker]),
        }
        for number, (speaker, colour) in enumerate(zip(speakers, colours, strict=True))
    ]
    return sorted(rows, key=lambda row: -row["seconds"])


def _errors(alignment: Alignment, reference: Sequence[Turn]) -> dict[str, Any]:
    """The DER (collar 0, overlap scored) and its parts as shares of the reference speech."""
    total_s = sum(turn.duration_s for turn in reference)
    parts = [(kind, alignment.error_seconds(kind) / total_s if total_s else 0.0) for kind in ERROR_KINDS]
    return {"der": sum(share for _, share in parts) if total_s else None, "parts": parts}


def _counts(spoken: WhoSpokeWhen) -> list[tuple[str, list[tuple[str, float]]]]:
    """The probable numbers of speakers of each channel, the most probable first."""
    found = []
    for one in spoken.details.get("count_posteriors", ()):
        posterior = one["posterior"]
        if posterior:
            likely = sorted(posterior.items(), key=lambda item: -item[1])[:4]
            found.append((str(one["channel"]), likely))
    return found


def _unsure(spoken: WhoSpokeWhen) -> list[tuple[float, float]]:
    return [
        (turn.onset_s, turn.end_s)
        for turn in sorted(spoken.turns)
        if turn.confidence is not None and turn.confidence < _UNSURE
    ]


def _sure(turn: Turn) -> float | None:
    return None if turn.confidence is None else round(turn.confidence, 3)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _chunks(content: bytes, size: int = 49_152) -> list[str]:
    """Base64 in pieces, each an element of its own: Chromium parses one of 10 MB in 2.7 s, pieces in 0.2."""
    return [_base64(content[first : first + size]) for first in range(0, len(content), size)]


def _json(data: Any) -> str:
    """JSON inside of a script element, which a name must not be able to close."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
