"""Embedding the missing utterances of an output folder: the resumable work of one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sdpn.extraction.extractor import Extractor, Outcome
from sdpn.extraction.merge import Output, merge_lock, scan
from sdpn.extraction.part import Part
from sdpn.extraction.settings import ExtractionSettings, agree_on_settings
from sdpn.extraction.shard import Shard
from sdpn.io.kaldi import Utterance
from sdpn.models.speaker_embedder import Precision, SpeakerEmbedder


class Embedded(NamedTuple):
    """Result of `embed_missing`.

    Attributes:
        settings: settings shared by all embeddings of the output.
        number: utterances processed in this call, including failed ones.
        duration_s: total duration of the utterances embedded.
    """

    settings: ExtractionSettings
    number: int
    duration_s: float


def embed_missing(
    output: Output,
    utterances: Sequence[Utterance],
    model: SpeakerEmbedder,
    extractor: Extractor,
    *,
    shard: Shard,
    precision: Precision | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Embedded:
    """Embed the missing utterances of a shard, appending to the shard's part.

    Args:
        output: the output files.
        utterances: all utterances of the data.
        model: the model; its precision is set to that of the output.
        extractor: extractor with that model.
        shard: the utterances of this process.
        precision: see `sdpn.extraction.settings.agree_on_settings`.
        on_progress: called with (done, total) of the missing utterances.

    Raises:
        InputError: the output was started with another model or other settings, another process is writing
            the shard's part, or the folder is not writable.
    """
    settings = agree_on_settings(
        output.progress,
        model,
        windows=None if extractor.windows is None else str(extractor.windows),
        speed=float(extractor.speed),
        precision=precision,
        choose=extractor.choose_precision,
    )
    model.precision = settings.precision
    with merge_lock(output):
        finished = scan(output, utterances).finished
        todo = [utterance for utterance in shard.of(utterances) if utterance.id not in finished]
        opened = Part(output.part(str(shard))) if todo else None
    if opened is None:
        return Embedded(settings, 0, 0.0)
    speech_s = 0.0
    with opened as part:

        def write(outcomes: Sequence[Outcome]) -> None:
            nonlocal speech_s
            for outcome in outcomes:
                if outcome.embeddings_ND is None:
                    part.fail(outcome.utterance, str(outcome.error))
                    continue
                speech_s += outcome.duration_s
                part.add(
                    outcome.utterance,
                    outcome.embeddings_ND,
                    outcome.duration_s,
                    windows=extractor.windows is not None,
                )

        for done in extractor.run(todo, write):
            on_progress(done, len(todo))
    return Embedded(settings, len(todo), speech_s)
