"""The recordings of the benchmark: trials with their utterances, and conversations with their references."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from sdpn.benchmark.groups import trial_groups
from sdpn.benchmark.held_out import is_held_out_sound, is_held_out_speaker
from sdpn.benchmark.plan import AMI, AMI_FOLDER, DEV_CORPORA, HELD_OUT, HELD_OUT_FOLDER, MANIFEST, Plan
from sdpn.diarization.vad import detect_speech
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory
from sdpn.io.corpus import find_audio
from sdpn.io.kaldi import Utterance
from sdpn.io.rttm import Turn, read_rttm
from sdpn.io.trial_corpus import utterances_of_trials
from sdpn.io.trials import Trials, read_trials
from sdpn.io.uem import read_uem
from sdpn.metrics.speaker_states import Regions
from sdpn.simulation.manifest import Conversation, file_digest, read_manifest, write_manifest
from sdpn.simulation.simulate import OnProgress, SimulationConfig, plan, render
from sdpn.simulation.sources import Folders, check_sources
from sdpn.simulation.turn_statistics import voxconverse
from sdpn.verification.trial_list import number_speakers


@dataclass(frozen=True, eq=False)
class VerificationSet:
    """Trials over M utterances.

    Attributes:
        trials: their ``ids`` name the utterances.
        utterances: in the order of the ids.
        speakers: number of the speaker of each, (M,).
        groups: trials of each group for which the corpus has data, bool (N,).
    """

    trials: Trials
    utterances: Sequence[Utterance]
    speakers: np.ndarray
    groups: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class RecordingSet:
    """Recordings with a reference.

    Attributes:
        audio: the file of each, by recording.
        reference: turns of each.
        regions: scored regions of each; None scores all.
    """

    audio: Mapping[str, Path]
    reference: Mapping[str, Sequence[Turn]]
    regions: Mapping[str, Regions] | None


@dataclass(frozen=True)
class EvaluationSets:
    """The corpora, and the folder in which conversations are simulated.

    Attributes:
        data: folder of the corpora, laid out as in docs/benchmark.md.
        work: folder for the conversations.
        manifest: a manifest of conversations of the first dev corpus, or None.
    """

    data: Path
    work: Path
    manifest: Path | None = None

    def digest(self, corpus: str) -> str:
        """Digest of all that is read for a corpus, by name, size and time; of a manifest by its contents.

        Raises:
            InputError: the manifest cannot be read.
        """
        root = {HELD_OUT: HELD_OUT_FOLDER, AMI: AMI_FOLDER, MANIFEST: Path(DEV_CORPORA[0])}.get(
            corpus, Path(corpus)
        )
        digests = [_folder_digest(self.data / each) for each in (root, Path("noise"), Path("rir"))]
        if corpus == MANIFEST and self.manifest is not None:
            digests.append(file_digest(self.manifest))
        return " ".join(digests)

    def verification(self, corpus: str) -> VerificationSet:
        """The trials of a corpus.

        Raises:
            InputError: a file is missing or malformed, or trials and folders contradict each other.
        """
        if corpus == HELD_OUT:
            return self._held_out_speakers()
        path = self.data / corpus / "dev_trials"
        trials = read_trials(path)
        by_id = {each.id: each for each in utterances_of_trials(self.data / corpus / "dev", path)}
        return self._verification(trials, by_id, self.data / corpus / "dev")

    def _held_out_speakers(self) -> VerificationSet:
        folder = self.data / HELD_OUT_FOLDER
        utterances = [
            Utterance(name.with_suffix("").as_posix(), folder / name, speaker=name.parts[0])
            for name in (path.relative_to(folder) for path in find_audio(folder))
            if len(name.parts) > 1 and is_held_out_speaker(folder.resolve(), name.parts[0])
        ]
        if len({each.speaker for each in utterances}) < 2:
            raise InputError(
                "holds fewer than two of the speakers that are held out for the benchmark", path=folder
            )
        pairs = np.array(list(combinations(range(len(utterances)), 2)), dtype=np.int32)
        speakers = np.array([each.speaker for each in utterances])
        trials = Trials(
            path=folder,
            ids=[each.id for each in utterances],
            is_target=speakers[pairs[:, 0]] == speakers[pairs[:, 1]],
            first=pairs[:, 0],
            second=pairs[:, 1],
            lines=np.arange(1, len(pairs) + 1),
        )
        return self._verification(trials, {each.id: each for each in utterances}, folder)

    def _verification(self, trials: Trials, by_id: Mapping[str, Utterance], folder: Path) -> VerificationSet:
        speakers = number_speakers(trials, {key: each.speaker or key for key, each in by_id.items()}, folder)
        if trials.is_target.all() or not trials.is_target.any():
            raise InputError("holds target or non-target trials only; expected both", path=trials.path)
        utterances = [by_id[name] for name in trials.ids]
        return VerificationSet(trials, utterances, speakers, trial_groups(trials, utterances, folder.parent))

    def meetings(self) -> RecordingSet:
        """The clips of AMI.

        Raises:
            InputError: a file is missing or malformed.
        """
        folder = self.data / AMI_FOLDER
        audio = {path.stem: path for path in find_audio(folder)}
        return _recordings(folder, audio, folder)

    def conversations(self, corpus: str, condition: str, seed: int | None) -> RecordingSet:
        """Conversations that `simulate` has made.

        Raises:
            InputError: a file is malformed.
        """
        folder = self._folder(corpus, condition, seed)
        return _recordings(folder, {path.stem: path for path in find_audio(folder)}, folder)

    def simulate(self, plan_: Plan, *, jobs: int, progress: OnProgress) -> dict[str, str]:
        """Make all conversations that are not there yet.

        Returns:
            how the samples of the manifest's conversations compare with it, by recording.

        Raises:
            InputError: a corpus is missing or too small, or a recording cannot be read.
        """
        for corpus in DEV_CORPORA:
            for seed in plan_.seeds:
                made_from = json.dumps([self.digest(corpus), seed, plan_.conversations, plan_.duration_s])
                self._simulate(corpus, seed, plan_, made_from, jobs=jobs, progress=progress)
        if self.manifest is None or "der" not in plan_.parts:
            return {}
        lines = read_manifest(self.manifest)
        folders = self._folders(DEV_CORPORA[0])
        check_sources(lines, folders, self.manifest)
        out = self._folder(MANIFEST, "as written", None)
        done = self._render(lines, folders, out, self.digest(MANIFEST), jobs=jobs, progress=progress)
        return {line.recording: line.compared_with(now) for line, now in zip(lines, done, strict=True)}

    def _simulate(
        self, corpus: str, seed: int, plan_: Plan, made_from: str, *, jobs: int, progress: OnProgress
    ) -> None:
        wet, dry = (self._folder(corpus, condition, seed) for condition in ("room and noise", "dry"))
        if _was_made_from(wet, made_from) and _was_made_from(dry, made_from):
            return
        folders = self._folders(corpus)
        config = SimulationConfig(
            num=plan_.conversations,
            seed=seed,
            duration_s=plan_.duration_s,
            room_share=1.0,
            noise_share=1.0,
        )
        drawn = plan(config, voxconverse(), folders, detect_speech, jobs=jobs, progress=progress)
        close = [
            replace(each, noise=None, speakers=tuple(who._replace(room=None) for who in each.speakers))
            for each in drawn
        ]
        self._render(drawn, folders, wet, made_from, jobs=jobs, progress=progress)
        self._render(close, folders, dry, made_from, jobs=jobs, progress=progress)

    def _render(
        self,
        lines: Sequence[Conversation],
        folders: Folders,
        out: Path,
        made_from: str,
        *,
        jobs: int,
        progress: OnProgress,
    ) -> list[Conversation]:
        if _was_made_from(out, made_from):
            return read_manifest(out / "manifest.jsonl")
        with atomic_directory(out) as folder:
            done = render(lines, folders, folder, jobs=jobs, progress=progress)
            write_manifest(folder / "manifest.jsonl", done)
            (folder / "made_from").write_text(made_from, encoding="utf-8")
        return done

    def _folders(self, corpus: str) -> Folders:
        return Folders(
            corpora=[self.data / corpus / "dev"],
            rir=self.data / "rir",
            noise=self.data / "noise",
            draws=is_held_out_sound,
        )

    def _folder(self, corpus: str, condition: str, seed: int | None) -> Path:
        kind = "dry" if condition == "telephone" else condition.replace(" ", "-")  # made of the dry one
        return self.work / "conversations" / f"{corpus}.{kind}.{seed}"


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for directory, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(names):
            path = Path(directory) / name
            status = path.stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _was_made_from(folder: Path, made_from: str) -> bool:
    """Whether conversations lie there that were made from this and nothing else."""
    try:
        return (folder / "made_from").read_text(encoding="utf-8") == made_from
    except OSError:
        return False


def _recordings(folder: Path, audio: Mapping[str, Path], where: Path) -> RecordingSet:
    reference = read_rttm(folder / "reference.rttm")
    uem = folder / "reference.uem"
    regions = read_uem(uem) if uem.is_file() else None
    _check_same_recordings(audio, {*reference, *(regions or ())}, where)
    return RecordingSet(
        {name: audio[name] for name in sorted(audio)},
        {name: reference.get(name, []) for name in sorted(audio)},
        regions,
    )


def _check_same_recordings(audio: Mapping[str, Path], referenced: Iterable[str], folder: Path) -> None:
    different = sorted(set(audio) ^ set(referenced))
    if different:
        raise InputError(
            f"recording {different[0]!r} has only one of audio and reference", path=folder / "reference.rttm"
        )
