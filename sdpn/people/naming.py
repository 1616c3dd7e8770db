"""Names in place of the labels of a diarized recording."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.diarization.outputs import LabelledChannel, NamedChannels
from sdpn.errors import InputError
from sdpn.io.rttm import Turn, merge_overlaps
from sdpn.models.speaker_embedder import SpeakerEmbedder
from sdpn.people.back_end import back_end_for
from sdpn.people.conditions import differences, measure_conditions
from sdpn.people.identify import FALSE_ALARMS, Identity, KnownPeople, refuse_other_model
from sdpn.people.voiceprint import UNKNOWN, PeopleFolder
from sdpn.people.voices import embed_voices
from sdpn.pretrained import model_name
from sdpn.verification.compare import Compares

_log = logging.getLogger(__name__)

#: Turns of one person with less between them are one.
_TOUCHING_S = 1e-3


@dataclass(frozen=True, kw_only=True)
class PeopleOptions:
    """Which people are known, and how they are told from strangers.

    Attributes:
        folder: of voiceprints.
        back_end: a file of 'sdpn backend'; None takes the model's own.
        false_alarms: share of strangers who may get a name, in (0, 1).
    """

    folder: Path
    back_end: Path | None = None
    false_alarms: float = FALSE_ALARMS

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        back_end = None if self.back_end is None else str(self.back_end)
        return {"folder": str(self.folder), "back_end": back_end, "false_alarms": self.false_alarms}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> PeopleOptions:
        """From JSON; a key that is missing raises KeyError."""
        back_end = values["back_end"]
        return PeopleOptions(
            folder=Path(values["folder"]),
            back_end=None if back_end is None else Path(back_end),
            false_alarms=float(values["false_alarms"]),
        )


def load_naming(embedder: SpeakerEmbedder, model: Path, options: PeopleOptions) -> SpeakerNaming:
    """Read the people and the back end, and check that they belong to a model.

    Args:
        embedder: the model, from `sdpn.load_model`.
        model: where it is.
        options: the people.

    Raises:
        InputError: the folder holds nobody, a file is damaged, there is no back end, or voiceprints or back
            end are another model's; the message has the command that renews them.
    """
    digest = embedder.weights_digest
    people = PeopleFolder(options.folder).read()
    refuse_other_model(people, digest, folder=str(options.folder), model_name=model_name(model))
    back_end = back_end_for(model, digest, options.back_end)
    known = KnownPeople(people, back_end, false_alarms=options.false_alarms)
    if known.by_back_end_alone:
        _log.warning(
            "%s: with so few people, the limit of false alarms comes from the back end's training speech "
            "alone, of its corpus with the most similar strangers; other speech may have more",
            options.folder,
        )
    return SpeakerNaming(embedder, known)


class SpeakerNaming:
    """Gives speakers the names of known people, and ``unknown00``, ``unknown01``, ... to others.

    Args:
        embedder: the model, from `sdpn.load_model`.
        known: the people.
    """

    def __init__(self, embedder: Compares, known: KnownPeople) -> None:
        self._embedder, self.known = embedder, known
        self._conditions = [one.conditions for person in known.people for one in person.recordings]

    def __call__(self, channels: Sequence[LabelledChannel], audio: Path | None) -> NamedChannels:
        """Name the speakers of a recording.

        Args:
            channels: its channels.
            audio: its file, which is read once more.

        Raises:
            InputError: there is no file, or it cannot be read again.
        """
        if audio is None:
            raise InputError(
                "known people are found by reading a recording twice, and this one can be read only once",
                hint="save it to a file first",
            )
        identities = [self.known.identify(self._voices(channel, audio)) for channel in channels]
        names, num_unknown = [], 0
        for channel, found in zip(channels, identities, strict=True):
            of_channel = {}
            for speaker in channel.speakers:
                identity = found.get(speaker)
                name = None if identity is None else identity.name
                if name is None:
                    name = f"{UNKNOWN}{num_unknown:02d}"
                    num_unknown += 1
                of_channel[speaker] = name
            names.append(of_channel)
        warnings = self._warnings(channels, audio)
        for warning in warnings:
            _log.warning("%s: %s: known people may go unrecognised", audio, warning)
        return NamedChannels(
            channels=[_renamed(channel, each) for channel, each in zip(channels, names, strict=True)],
            of_speakers=_identities(names, identities),
            details={
                "people": {
                    "false_alarms": self.known.false_alarms,
                    "threshold": round(self.known.threshold, 4),
                    "num_people": len(self.known.people),
                    "warnings": warnings,
                }
            },
        )

    def _voices(self, channel: LabelledChannel, audio: Path) -> dict[str, np.ndarray]:
        spans_of: dict[str, list[tuple[float, float]]] = {speaker: [] for speaker in channel.speakers}
        for turn in channel.exclusive:
            spans_of[turn.speaker].append((turn.onset_s, turn.end_s))
        return embed_voices(
            self._embedder, audio, spans_of, channel=channel.embedded.channel, keep_truncated=True
        )

    def _warnings(self, channels: Sequence[LabelledChannel], audio: Path) -> list[str]:
        found: list[str] = []
        for channel in channels:
            embedded = channel.embedded
            now = measure_conditions(audio, embedded.speech, channel=embedded.channel, keep_truncated=True)
            if now is not None:
                found += differences(now, self._conditions)
        return list(dict.fromkeys(found))


def _renamed(channel: LabelledChannel, names: dict[str, str]) -> LabelledChannel:
    def rename(turns: Sequence[Turn]) -> list[Turn]:
        renamed = sorted(replace(turn, speaker=names[turn.speaker]) for turn in turns)
        return merge_overlaps(renamed, pause_s=_TOUCHING_S)

    return replace(channel, turns=rename(channel.turns), exclusive=rename(channel.exclusive))


def _identities(
    names: Sequence[dict[str, str]], identities: Sequence[dict[str, Identity]]
) -> dict[str, dict[str, Any]]:
    """The best identity of each name; several voices may have one."""
    best: dict[str, Identity] = {}
    for of_channel, found in zip(names, identities, strict=True):
        for speaker, identity in found.items():
            name = of_channel[speaker]
            if name not in best or best[name].score < identity.score:
                best[name] = identity
    return {
        name: {
            "identity": {
                **asdict(identity),
                "score": round(identity.score, 4),
                "threshold": round(identity.threshold, 4),
            }
        }
        for name, identity in best.items()
    }
