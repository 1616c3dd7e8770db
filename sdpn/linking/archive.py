"""An archive of diarized recordings to a table of people: what ``sdpn link`` does."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.errors import InputError
from sdpn.extraction.shard import Shard
from sdpn.interop.load import Runtime, load_model
from sdpn.io.atomic import atomic_path, atomic_write_text
from sdpn.linking.link import Links, OnProgress, link, score_shard
from sdpn.linking.scores import PairScores, ScoreModel, fit_scores
from sdpn.linking.speakers import RecordedSpeakers, find_documents, read_speakers
from sdpn.models.graph_folder import is_graph_folder
from sdpn.people.back_end import back_end_for
from sdpn.pretrained import model_path
from sdpn.verification.back_end import BackEnd

_log = logging.getLogger(__name__)

#: The version of the JSON document.
SCHEMA = "sdpn.link/1"

#: Folder of what shards have compared, in the output.
PARTS = "parts"

#: Speakers with less speech, in seconds, are not linked: their embeddings say too little.
LEAST_TALK_S = 3.0


@dataclass(frozen=True, kw_only=True)
class LinkOptions:
    """How an archive is linked.

    Attributes:
        back_end: a file of 'sdpn backend'; None takes that of the model of the documents.
        threshold: mean score for one person; None estimates it from the archive.
        least_talk_s: speakers with less speech are listed, and not linked.
    """

    back_end: Path | None = None
    threshold: float | None = None
    least_talk_s: float = LEAST_TALK_S

    def __post_init__(self) -> None:
        if not 0 <= self.least_talk_s < float("inf"):
            raise InputError(f"--min-seconds {self.least_talk_s:g} is no length", hint="expected at least 0")


def link_archive(
    documents: Sequence[Path],
    out: Path,
    options: LinkOptions = LinkOptions(),
    *,
    merge: bool = False,
    on_progress: OnProgress = lambda _done, _total: None,
) -> dict[str, Any]:
    """Find the same people in many recordings, and write ``people.json`` and ``people.csv``.

    Args:
        documents: JSON documents of ``sdpn diarize --format json --embeddings``, or folders of them.
        out: folder of the files; ``progress.npz`` is there while it works, and an interrupted run goes on.
        options: the options.
        merge: compare nobody, and use what `compare_shard` has compared: the same files.
        on_progress: see `sdpn.linking.link.OnProgress`.

    Returns:
        ``people``: for each ``person``, ``minutes``, ``num_recordings`` and ``appearances`` (recording,
        speaker, minutes), most minutes first; ``too_short``: speakers who were not linked; ``estimated``:
        precision, recall and F1 of pairs of appearances, ``threshold``.

    Raises:
        InputError: a document cannot be used, there is no back end, or a file cannot be written.
    """
    archive = _Archive.read(documents, options)
    progress_file = out / "progress.npz"
    links: Links | None = None
    if archive.model is not None:
        links = link(
            archive.emb_ND,
            archive.recording_N,
            archive.back_end,
            archive.model,
            threshold=options.threshold,
            progress_file=progress_file,
            parts=sorted((out / PARTS).glob("*.npz")) if merge else None,
            on_progress=on_progress,
        )
    speakers, chosen = archive.speakers, archive.chosen
    result = _result(speakers, chosen, links, options)
    _write(out, result)
    progress_file.unlink(missing_ok=True)
    if merge and (out / PARTS).is_dir():
        shutil.rmtree(out / PARTS)
    return result


def compare_shard(
    documents: Sequence[Path],
    out: Path,
    shard: Shard,
    options: LinkOptions = LinkOptions(),
    *,
    on_progress: OnProgress = lambda _done, _total: None,
) -> int:
    """Compare the speakers of a shard with all others, for `link_archive` with ``merge``.

    Args:
        documents: as in `link_archive`, like the rest.
        out: the part is ``OUT/parts/I-of-N.npz``.
        shard: which blocks of comparisons.
        options: the options.
        on_progress: called with the blocks done, and all of this shard.

    Returns:
        the number of blocks; an archive without anybody to compare has none.

    Raises:
        InputError: as `link_archive`.
    """
    archive = _Archive.read(documents, options)
    if archive.model is None:
        return 0
    return score_shard(
        archive.emb_ND,
        archive.recording_N,
        archive.back_end,
        archive.model,
        shard.of,
        out / PARTS / f"{shard}.npz",
        threshold=options.threshold,
        on_progress=on_progress,
    )


@dataclass(frozen=True, eq=False)
class _Archive:
    """The speakers of an archive, who of them is compared, and how; ``model`` is None where nobody is."""

    speakers: RecordedSpeakers
    chosen: np.ndarray
    emb_ND: np.ndarray
    recording_N: np.ndarray
    back_end: BackEnd
    model: ScoreModel | None

    @classmethod
    def read(cls, documents: Sequence[Path], options: LinkOptions) -> _Archive:
        """Read the documents, and fit the scores."""
        speakers = read_speakers(find_documents(documents))
        back_end = _back_end(speakers, options.back_end)
        chosen = np.flatnonzero(speakers.talk_s_N >= options.least_talk_s)
        emb_ND, recording_N = speakers.emb_ND[chosen], speakers.recording_N[chosen]
        model = None
        if len(chosen):
            model = fit_scores(PairScores(emb_ND, back_end), recording_N)
            _log.info(
                "scores of strangers %.2f ± %.2f, of one person %.2f ± %.2f (%.2g of the pairs)",
                *model.strangers,
                *model.same,
                model.share,
            )
        return cls(speakers, chosen, emb_ND, recording_N, back_end, model)


def _back_end(speakers: RecordedSpeakers, path: Path | None) -> BackEnd:
    """The back end, checked to be of the documents' model where that is here."""
    model = model_path(Path(speakers.model))
    digest = None
    if model.exists():
        runtime: Runtime = "onnx" if is_graph_folder(model) else "torch"
        digest = load_model(model, speakers.format, runtime=runtime).weights_digest
    back_end = back_end_for(model, digest, path)
    if back_end.embedding_dim != speakers.emb_ND.shape[1]:
        raise InputError(
            f"the back end expects embeddings of {back_end.embedding_dim} dimensions, the documents have "
            f"{speakers.emb_ND.shape[1]}",
            path=path,
            hint="a back end only fits the model that it was trained with",
        )
    return back_end


def _result(
    speakers: RecordedSpeakers, chosen: np.ndarray, links: Links | None, options: LinkOptions
) -> dict[str, Any]:
    def appearance(index: int) -> dict[str, Any]:
        return {
            "recording": speakers.recordings[speakers.recording_N[index]],
            "speaker": speakers.labels[index],
            "minutes": round(float(speakers.talk_s_N[index]) / 60, 3),
        }

    members: dict[int, list[int]] = {}
    for person, index in zip([] if links is None else links.person_N.tolist(), chosen.tolist(), strict=True):
        members.setdefault(person, []).append(index)
    order = sorted(members.values(), key=lambda each: (-speakers.talk_s_N[each].sum(), each[0]))
    taken: dict[str, int] = {}
    people = []
    for number, each in enumerate(order, start=1):
        known = [name for name in (speakers.names[index] for index in each) if name is not None]
        name = (
            max(sorted(set(known)), key=known.count) if known else f"person{number:0{len(str(len(order)))}d}"
        )
        taken[name] = taken.get(name, 0) + 1
        people.append(
            {
                "person": name if taken[name] == 1 else f"{name} ({taken[name]})",
                "minutes": round(float(speakers.talk_s_N[each].sum()) / 60, 3),
                "num_recordings": len({int(speakers.recording_N[index]) for index in each}),
                "appearances": [appearance(index) for index in each],
            }
        )
    short = sorted(set(range(len(speakers))) - set(chosen.tolist()))

    return {
        "num_recordings": len(speakers.recordings),
        "num_speakers": len(speakers),
        "threshold": None if links is None else round(links.threshold, 4),
        "estimated": estimated_error(links, speakers, chosen),
        "people": people,
        "too_short": [appearance(index) for index in short],
        "min_seconds": options.least_talk_s,
    }


def estimated_error(
    links: Links | None, speakers: RecordedSpeakers, chosen: np.ndarray
) -> dict[str, float | None]:
    """Precision, recall and F1 of the pairs of all appearances: those too short to be linked are missed.

    They are taken to be as often one person as the others.

    Args:
        links: of those who were compared; None where nobody was.
        speakers: of the archive.
        chosen: who of them were compared.
    """
    precision = recall = f1 = None
    if links is not None:
        precision = links.precision
        among = _pairs(speakers.recording_N[chosen]) / max(_pairs(speakers.recording_N), 1)
        recall = None if links.recall is None else links.recall * among
    if precision is not None and recall is not None and precision + recall > 0:
        f1 = 2 * precision * recall / (precision + recall)
    shares = {"precision": precision, "recall": recall, "f1": f1}
    return {name: None if share is None else round(share, 4) for name, share in shares.items()}


def _pairs(recording_N: np.ndarray) -> int:
    """Number of pairs of different recordings."""
    sizes = np.bincount(recording_N).astype(np.int64)
    return int(sizes.sum() ** 2 - (sizes**2).sum()) // 2


def _write(out: Path, result: dict[str, Any]) -> None:
    with (
        atomic_path(out / "people.csv") as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as stream,
    ):
        table = csv.writer(stream)
        table.writerow(["person", "recording", "speaker", "minutes"])
        for person in result["people"]:
            for one in person["appearances"]:
                table.writerow([person["person"], one["recording"], one["speaker"], f"{one['minutes']:.3f}"])
    text = json.dumps({"schema": SCHEMA, **result}, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write_text(out / "people.json", text + "\n")
