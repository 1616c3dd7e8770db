"""Enrolment: recordings of one person become a voiceprint, or are refused with the reason.

Shapes: N windows, D embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sdpn.clustering.registry import make_clusterer
from sdpn.diarization.pipeline import Diarizer, EmbeddedRecording
from sdpn.errors import InputError
from sdpn.io.audio import Channel
from sdpn.io.checksum import file_sha256
from sdpn.people.conditions import measure_conditions
from sdpn.people.identify import refuse_other_model
from sdpn.people.voiceprint import EnrolledRecording, PeopleFolder, Voiceprint, checked_name
from sdpn.people.voices import embed_voices
from sdpn.verification.back_end import BackEnd
from sdpn.verification.compare import Compares

_log = logging.getLogger(__name__)

#: Least speech of a recording, and of a person, in seconds.
LEAST_RECORDING_S, LEAST_PERSON_S = 1.0, 2.0
#: Speech of a person in seconds below which a warning says that more is better.
_ENOUGH_S = 10.0
#: A recording has two voices, and recordings are two people's, if more than this share of pairs of strangers
#: of one corpus are as similar. Recordings of one person differ more than parts of one recording.
_TWO_VOICES, _TWO_PEOPLE = 0.4, 0.8
#: And from which on a warning says that recordings may be two people's.
_MAYBE_TWO_PEOPLE = 0.2
#: Windows of each of two voices below which they are not told apart.
_LEAST_WINDOWS = 3

#: Called with the number of recordings done and in total.
OnRecording = Callable[[int, int], None]


class Enroller:
    """Enrolls people with one model.

    Args:
        embedder: the model, from `sdpn.load_model`.
        diarizer: with the same model; its settings choose speech and windows.
        back_end: of that model.
        model: digest of its weights (`sdpn.models.weights.weights_digest`).
        made_with: see `sdpn.people.voiceprint.Voiceprint`.
    """

    def __init__(
        self,
        embedder: Compares,
        diarizer: Diarizer,
        back_end: BackEnd,
        *,
        model: str | None,
        made_with: dict[str, str | None],
    ) -> None:
        self._embedder, self._diarizer, self._back_end = embedder, diarizer, back_end
        self._model, self._made_with = model, made_with

    def refuse_other_model(self, people: Sequence[Voiceprint], folder: PeopleFolder) -> None:
        """Check that the model has a digest, and that people were enrolled with it.

        Raises:
            InputError: as `sdpn.people.identify.refuse_other_model`.
        """
        name = str(self._made_with["model"])
        refuse_other_model(people, self._model, folder=str(folder.path), model_name=name)

    def voiceprint(
        self, name: str, before: Voiceprint | None, recordings: Sequence[EnrolledRecording]
    ) -> Voiceprint:
        """A person with the recordings of ``before``, if there are any, and these.

        Raises:
            InputError: too little speech in all, or one of the recordings has another voice.
        """
        assert self._model is not None  # refuse_other_model
        person = Voiceprint(name=name, model=self._model, made_with=self._made_with, recordings=[])
        if before is not None:
            person = replace(person, recordings=before.recordings)
        person = person.with_recordings(recordings)
        self._check_one_person(person)
        if person.speech_s < LEAST_PERSON_S:
            raise InputError(
                f"{name!r} has {person.speech_s:.1f} s of speech in all recordings; expected at least "
                f"{LEAST_PERSON_S:g} s",
                path=recordings[0].audio,
                hint="give more recordings of this person",
            )
        if person.speech_s < _ENOUGH_S:
            _log.warning(
                "%r has %.1f s of speech: %g s or more, in several recordings, are recognised better",
                name,
                person.speech_s,
                _ENOUGH_S,
            )
        return person

    def recording(self, path: Path, channel: Channel) -> EnrolledRecording:
        """Embed a recording of one person.

        Raises:
            InputError: it cannot be read, or has too little speech or more than one voice.
        """
        if not path.is_file():
            raise InputError("no such audio file", path=path)
        embedded = self._diarizer.embed(path, channel=channel)
        speech_s = sum(segment.duration_s for segment in embedded.speech)
        conditions = measure_conditions(path, embedded.speech, channel=channel)
        if conditions is None or speech_s < LEAST_RECORDING_S:
            raise InputError(
                f"has {speech_s:.1f} s of speech; an enrolment needs at least {LEAST_RECORDING_S:g} s",
                path=path,
                hint="is anybody speaking in it, and not too far from the microphone?",
            )
        self._check_one_voice(embedded, path)
        spans = [(segment.start_s, segment.end_s) for segment in embedded.speech]
        voices = embed_voices(self._embedder, path, {"voice": spans}, channel=channel)
        return EnrolledRecording(
            audio=str(path.resolve()),
            sha256=file_sha256(path),
            channel=channel if isinstance(channel, int) else None,
            speech_s=speech_s,
            conditions=conditions,
            embedding_D=voices["voice"],
        )

    def _check_one_voice(self, embedded: EmbeddedRecording, path: Path) -> None:
        """Refuse a recording of two people: its windows fall into two voices that differ as strangers do."""
        if len(embedded.emb_ND) < 2 * _LEAST_WINDOWS:
            return
        halves = make_clusterer("ahc").fit_predict(embedded.emb_ND, num_speakers=2)
        if np.bincount(halves.labels_N).min() < _LEAST_WINDOWS:
            return
        voices_2D = np.stack(
            [embedded.emb_ND[halves.labels_N == label].mean(axis=0, dtype=np.float64) for label in (0, 1)]
        )
        shared = self._strangers_as_similar(voices_2D)
        if shared > _TWO_VOICES:
            raise InputError(
                f"has two voices: {100 * shared:.0f} % of pairs of strangers are as similar",
                path=path,
                hint="cut out the person's own speech: 'sdpn diarize' shows where who speaks",
            )

    def _check_one_person(self, person: Voiceprint) -> None:
        """Refuse a recording whose voice is none of the person's others', and warn of one that may be."""
        if len(person.recordings) < 2:
            return
        rows_RD = np.stack([one.embedding_D for one in person.recordings]).astype(np.float64)
        shared = [
            self._strangers_as_similar(
                np.stack([rows_RD[number], np.delete(rows_RD, number, axis=0).mean(axis=0)])
            )
            for number in range(len(rows_RD))
        ]
        unlike = max(range(len(shared)), key=lambda number: (shared[number], number))  # of two the later one
        audio, share = person.recordings[unlike].audio, shared[unlike]
        if share > _TWO_PEOPLE:
            raise InputError(
                f"has another voice than the other recordings of {person.name!r}: {100 * share:.0f} % of "
                "pairs of strangers are as similar",
                path=audio,
                hint="enroll without it, or under the right name",
            )
        if share > _MAYBE_TWO_PEOPLE:
            _log.warning(
                "%s: is unlike the other recordings of %r (%.0f %% of pairs of strangers are as similar): "
                "is it somebody else's?",
                audio,
                person.name,
                100 * share,
            )

    def _strangers_as_similar(self, pair_2D: np.ndarray) -> float:
        """Share of pairs of strangers that are at least as similar as two voices."""
        score = self._back_end.score(pair_2D, np.array([0]), np.array([1]))[0]
        return self._back_end.strangers_reaching(float(score))


def enroll_person(
    enroller: Enroller,
    folder: PeopleFolder,
    name: str,
    audio: Sequence[Path],
    *,
    channel: Channel = None,
    on_recording: OnRecording = lambda _done, _total: None,
) -> Voiceprint:
    """Enroll a person, or add recordings to one who is there.

    Args:
        enroller: with the model.
        folder: of the people.
        name: of the person.
        audio: recordings in which nobody else speaks.
        channel: channel to read.
        on_recording: called after each recording.

    Returns:
        the voiceprint, which is written when all recordings are accepted.

    Raises:
        InputError: the name is none, a recording cannot be read, has too little speech, more than one
            voice or another voice than the others, or belongs to somebody else; the person was enrolled
            with another model; the voiceprint cannot be written.
    """
    name = checked_name(name)
    everybody = folder.read() if folder.path.is_dir() and any(folder.path.iterdir()) else []
    enroller.refuse_other_model(everybody, folder)
    before = next((person for person in everybody if person.name == name), None)
    recordings = []
    for number, path in enumerate(audio, start=1):
        recordings.append(enroller.recording(path, channel))
        on_recording(number, len(audio))
    for person in everybody:
        _refuse_shared(person, name, audio, recordings)
    person = enroller.voiceprint(name, before, recordings)
    folder.write(person)
    return person


def renew_people(
    enroller: Enroller, folder: PeopleFolder, *, on_recording: OnRecording = lambda _done, _total: None
) -> list[Voiceprint]:
    """Make all voiceprints of a folder again, with a model, from the recordings that they name.

    Args:
        enroller: with the model.
        folder: of the people.
        on_recording: called after each recording.

    Raises:
        InputError: a recording is not where it was or has changed, or is refused as in `enroll_person`; then
            nobody is renewed.
    """
    enroller.refuse_other_model([], folder)
    everybody = folder.read()
    for person in everybody:
        for one in person.recordings:
            _check_unchanged(person, one)
    total, done, renewed = sum(len(person.recordings) for person in everybody), 0, []
    for person in everybody:
        recordings = []
        for one in person.recordings:
            recordings.append(enroller.recording(Path(one.audio), one.channel))
            done += 1
            on_recording(done, total)
        renewed.append(enroller.voiceprint(person.name, None, recordings))
    for person in renewed:
        folder.write(person)
    return renewed


def _check_unchanged(person: Voiceprint, recording: EnrolledRecording) -> None:
    path = Path(recording.audio)
    if not path.is_file() or file_sha256(path) != recording.sha256:
        state = "has changed" if path.is_file() else "is no longer there"
        raise InputError(
            f"is a recording of {person.name!r} and {state}",
            path=path,
            hint=f"enroll {person.name!r} again: --delete, then --name with recordings",
        )


def _refuse_shared(
    person: Voiceprint, name: str, audio: Sequence[Path], recordings: Sequence[EnrolledRecording]
) -> None:
    """Refuse a recording that is somebody else's voiceprint."""
    if person.name == name:
        return
    theirs = {(one.sha256, one.channel) for one in person.recordings}
    for path, one in zip(audio, recordings, strict=True):
        if (one.sha256, one.channel) in theirs:
            raise InputError(
                f"is enrolled as {person.name!r} already", path=path, hint="one recording has one voice"
            )
