"""What is written about a diarized recording: turns, talk times, embeddings, and a receipt.

The receipt says what the turns were made from (audio, model, code, options, settings, machine) and holds a
digest of them, so that `sdpn.receipt.verify_receipt` can repeat the work and compare.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdpn.config import to_dict
from sdpn.diarization.forecast import DerForecast
from sdpn.diarization.pipeline import Diarizer, EmbeddedRecording, LabelledRecording
from sdpn.diarization.speakers import speaker_embeddings
from sdpn.formats.json_document import json_document
from sdpn.formats.who_spoke_when import WhoSpokeWhen
from sdpn.io.checksum import file_sha256
from sdpn.io.json_text import float32_numbers
from sdpn.io.rttm import Turn, from_annotation

#: The keys of a JSON document that the work decides, which a receipt vouches for.
RESULT = ("duration_s", "speakers", "turns", "exclusive_turns", "count_posteriors", "forecasts")


@dataclass(frozen=True, kw_only=True)
class LabelledChannel:
    """A channel of a recording, diarized.

    Attributes:
        embedded: its windows.
        labelled: its turns, as the clusterer has them.
        turns: the same in order of time, with names.
        exclusive: the same with one speaker at a time.
    """

    embedded: EmbeddedRecording
    labelled: LabelledRecording
    turns: list[Turn]
    exclusive: list[Turn]

    @property
    def speakers(self) -> list[str]:
        """In the order of their first turns."""
        return list(dict.fromkeys(turn.speaker for turn in self.turns))

    @property
    def embeddings(self) -> dict[str, Any]:
        """Mean embedding (D,) of every speaker."""
        return speaker_embeddings(self.embedded.windows.times_N2, self.embedded.emb_ND, self.exclusive)


@dataclass(frozen=True, kw_only=True)
class NamedChannels:
    """Channels whose speakers have names of people.

    Attributes:
        channels: with the names in their turns.
        of_speakers: further keys of a speaker in the JSON document.
        details: further keys of the document.
    """

    channels: Sequence[LabelledChannel]
    of_speakers: Mapping[str, Mapping[str, Any]]
    details: Mapping[str, Any]


#: Names the speakers of a recording: called with its channels and its file (`sdpn.people.naming`).
Naming = Callable[[Sequence[LabelledChannel], "Path | None"], NamedChannels]


def labelled_channels(
    recording: str,
    channels: Sequence[EmbeddedRecording],
    labelled: Sequence[LabelledRecording],
    *,
    exclusive: bool = False,
) -> list[LabelledChannel]:
    """Bring the turns of channels into order.

    Args:
        recording: its id.
        channels: from `Diarizer.embed` or `Diarizer.embed_channels`.
        labelled: from `Diarizer.label_with_counts`.
        exclusive: one speaker at a time in the turns as well.
    """
    found = []
    for embedded, one in zip(channels, labelled, strict=True):
        channel = 1 + (embedded.channel or 0)
        alone = from_annotation(
            one.exclusive, recording, channel=channel, confidence=one.exclusive_confidence
        )
        turns = alone
        if not exclusive:
            turns = from_annotation(one.annotation, recording, channel=channel, confidence=one.confidence)
        found.append(LabelledChannel(embedded=embedded, labelled=one, turns=turns, exclusive=alone))
    return found


def who_spoke_when(
    recording: str, audio: Path | None, channels: Sequence[LabelledChannel], *, with_embeddings: bool
) -> WhoSpokeWhen:
    """Everything about a recording that is written.

    Args:
        recording: its id.
        audio: its file; None for standard input.
        channels: from `labelled_channels`.
        with_embeddings: whether the JSON document has the speakers' embeddings.
    """
    of_speakers: dict[str, dict[str, Any]] = {}
    if with_embeddings:
        for channel in channels:
            for speaker, mean_D in channel.embeddings.items():
                of_speakers[speaker] = {"embedding": float32_numbers(mean_D)}
    return WhoSpokeWhen(
        recording=recording,
        audio=audio,
        duration_s=channels[0].embedded.duration_s,
        turns=sorted(turn for channel in channels for turn in channel.turns),
        exclusive=sorted(turn for channel in channels for turn in channel.exclusive),
        details={
            "count_posteriors": [
                {
                    "channel": channel_name(channel.embedded),
                    "posterior": None
                    if channel.labelled.count_posterior is None
                    else {
                        str(count): round(share, 4)
                        for count, share in channel.labelled.count_posterior.items()
                    },
                    "unheard": channel.labelled.unheard,
                }
                for channel in channels
            ],
            "forecasts": [
                {
                    "channel": channel_name(channel.embedded),
                    **_forecast(channel.labelled.forecast),
                }
                for channel in channels
            ],
        },
        of_speakers=of_speakers,
    )


def _forecast(forecast: DerForecast | None) -> dict[str, Any]:
    """As JSON: the DER that is expected, its range, and a warning; null without speech."""
    if forecast is None:
        return {"der": None, "low": None, "high": None, "warning": None}
    numbers = {name: round(getattr(forecast, name), 4) for name in ("der", "low", "high")}
    return {**numbers, "warning": forecast.warning}


def channel_name(embedded: EmbeddedRecording) -> int | str:
    """The channel that was read, counted from 0, or ``mix``."""
    return "mix" if embedded.channel is None else embedded.channel


def pipeline_settings(diarizer: Diarizer) -> dict[str, Any]:
    """All settings of a diarizer: the pipeline's, ``method``, and under its name those of the method."""
    settings = to_dict(diarizer.config)
    del settings["settings"]  # what was given of the method's; all of them are more use
    return {**settings, diarizer.config.method: to_dict(diarizer.clusterer)}


def with_receipt(
    spoken: WhoSpokeWhen,
    *,
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> WhoSpokeWhen:
    """Add the settings and the receipt to what is written.

    Args:
        spoken: from `who_spoke_when`.
        settings: from `pipeline_settings`.
        options: how the recording was read and diarized.
        origin: model, code and machine (`sdpn.receipt.origin_of`).
    """
    audio = spoken.audio
    receipt = {
        "result_sha256": result_digest(json_document(spoken)),
        "result_keys": list(RESULT),
        "audio": None if audio is None else {"bytes": audio.stat().st_size, "sha256": file_sha256(audio)},
        "options": dict(options),
        **origin,
    }
    return replace(spoken, details={**spoken.details, "settings": dict(settings), "receipt": receipt})


def result_digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of what a JSON document says about a recording (`RESULT`), however it is laid out."""
    result = {key: document.get(key) for key in RESULT}
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()
