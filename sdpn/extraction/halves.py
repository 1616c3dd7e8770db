"""Halves of utterances: pairs of segments of the same speaker without labels.

Halves have the ids UTT-1 and UTT-2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance, read_vectors, write_data_dir
from sdpn.verification.parts import SHORTEST_PART_S

if TYPE_CHECKING:
    from sdpn.models.speaker_embedder import SpeakerEmbedder


class Halves(NamedTuple):
    """Halves of utterances.

    Attributes:
        utterances: first and second half of each utterance in turn.
        left_out: utterances without halves, with the reason.
    """

    utterances: list[Utterance]
    left_out: dict[str, str]


@dataclass(frozen=True, eq=False)
class EmbeddedHalves:
    """Embeddings of utterances and of their halves.

    Attributes:
        ids: of the N utterances.
        whole_ND: their embeddings.
        halves_N2D: embeddings of their halves; without halves, that of the utterance twice.
        left_out: utterances without an embedding, with the reason.
    """

    ids: list[str]
    whole_ND: np.ndarray
    halves_N2D: np.ndarray
    left_out: dict[str, str]


def halve(utterances: Iterable[Utterance]) -> Halves:
    """Halve utterances, except unreadable and too short ones.

    Raises:
        InputError: no utterance can be halved.
    """
    halves: list[Utterance] = []
    left_out: dict[str, str] = {}
    for utterance in utterances:
        try:
            duration_s = utterance.num_samples() / RATE_HZ
        except InputError as error:
            left_out[utterance.id] = str(error)
            continue
        if duration_s < 2 * SHORTEST_PART_S:
            left_out[utterance.id] = f"shorter than {2 * SHORTEST_PART_S:g} s"
            continue
        start_s, middle_s, end_s = (utterance.start_s + share * duration_s for share in (0.0, 0.5, 1.0))
        halves.append(replace(utterance, id=f"{utterance.id}-1", start_s=start_s, end_s=middle_s))
        halves.append(replace(utterance, id=f"{utterance.id}-2", start_s=middle_s, end_s=end_s))
    if not halves:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:3])
        raise InputError(f"no utterance can be halved: {reasons}")
    return Halves(halves, left_out)


def write_halves(folder: Path, halves: Sequence[Utterance]) -> None:
    """Write halves as a Kaldi data directory with ``segments``, without copying audio.

    Raises:
        InputError: the folder cannot be written, or a path cannot be written in a table.
    """
    recordings: dict[Path, str] = {}
    lines = []
    for half in halves:
        recording = recordings.setdefault(half.path, half.id)
        channel = "" if half.channel is None else f" {half.channel}"
        lines.append(f"{half.id} {recording} {half.start_s:.4f} {half.end_s:.4f}{channel}\n")
    write_data_dir(folder, [Utterance(name, path) for path, name in recordings.items()])
    atomic_write_text(folder / "segments", "".join(lines))


def pair_halves(whole: Mapping[str, np.ndarray], halves: Mapping[str, np.ndarray]) -> np.ndarray:
    """Pair embeddings of halves, (N, 2, D), in the order of their utterances.

    Args:
        whole: embeddings (D,) of utterances, which also replace missing halves.
        halves: embeddings of halves, by their ids.

    Raises:
        InputError: no utterance has halves, or dimensions differ.
    """
    if not any(f"{name}-1" in halves for name in whole):
        raise InputError("contains no halves of the utterances", hint="ids UTT-1 and UTT-2 were expected")
    rows = [[halves.get(f"{name}-1", row), halves.get(f"{name}-2", row)] for name, row in whole.items()]
    if len({len(row) for row in whole.values()} | {len(row) for pair in rows for row in pair}) > 1:
        raise InputError("contains embeddings of another dimension", hint="extract both with the same model")
    return np.array(rows)


def embed_with_halves(
    model: SpeakerEmbedder,
    utterances: Sequence[Utterance],
    *,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> EmbeddedHalves:
    """Embed utterances and their halves, in memory.

    Args:
        model: the model.
        utterances: the utterances; unreadable ones are left out.
        on_progress: called with (done, total).

    Raises:
        InputError: nothing can be embedded or halved.
    """
    from sdpn.extraction.embed_corpus import embed_corpus

    left_out: dict[str, str] = {}

    def leave_out(utterance: Utterance, error: InputError) -> None:
        left_out[utterance.id] = str(error)

    rows = {
        one.utterance.id: one.embeddings_ND[0]
        for one in embed_corpus(
            model, halve(utterances).utterances, on_error=lambda *_: None, on_progress=on_progress
        )
    }
    whole = {
        one.utterance.id: one.embeddings_ND[0]
        for one in embed_corpus(model, utterances, on_error=leave_out, on_progress=on_progress)
    }
    return EmbeddedHalves(list(whole), np.stack(list(whole.values())), pair_halves(whole, rows), left_out)


def read_halves(embeddings: Path, halves: Path) -> EmbeddedHalves:
    """Read what `sdpn extract` has made of utterances and of their halves.

    Args:
        embeddings: scp or ark of utterances.
        halves: the same of their halves, UTT-1 and UTT-2.

    Raises:
        InputError: a table cannot be read, or the two do not belong together.
    """
    vectors = read_vectors(embeddings)
    try:
        halves_N2D = pair_halves(vectors, read_vectors(halves))
    except InputError as error:
        raise InputError(error.message, path=halves, hint=error.hint) from None
    return EmbeddedHalves(list(vectors), np.stack(list(vectors.values())), halves_N2D, {})
