"""The function to embed many utterances with.

    rows_ND = np.concatenate([each.embeddings_ND for each in embed_corpus(model, utterances)])

Shapes: N embeddings of an utterance (1 where it is embedded as a whole), D embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from sdpn.errors import InputError
from sdpn.extraction.audio_cache import AudioCache
from sdpn.extraction.clips import WindowPlan
from sdpn.extraction.extractor import ChosenWindows, Extractor, Outcome, Pieces
from sdpn.io.audio import Channel
from sdpn.io.kaldi import Utterance
from sdpn.models.speaker_embedder import SpeakerEmbedder
from sdpn.threads import usable_threads

_log = logging.getLogger(__name__)

#: Treatment of utterances that cannot be embedded.
OnError: TypeAlias = Literal["raise", "skip"] | Callable[[Utterance, InputError], None]


@dataclass(frozen=True, eq=False)
class EmbeddedUtterance:
    """An utterance and its embeddings.

    Attributes:
        index: its index in the list given.
        utterance: the utterance.
        embeddings_ND: (N, D) float32, not normalised.
    """

    index: int
    utterance: Utterance
    embeddings_ND: np.ndarray


def embed_corpus(
    model: SpeakerEmbedder,
    utterances: Sequence[Utterance],
    *,
    windows: WindowPlan | ChosenWindows | None = None,
    pieces: Pieces | None = None,
    channel: Channel = None,
    on_error: OnError = "raise",
    cache: AudioCache | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Iterator[EmbeddedUtterance]:
    """Embed utterances on the model's device, in batches, with files read ahead; yields them in order.

    Embeddings of whole utterances and pieces are independent of the batch up to rounding (1e-5 of the largest
    value). Closing the generator stops the work.

    Args:
        model: the model, in evaluation mode.
        utterances: the utterances. Those over two minutes are embedded as the mean of equal parts, unless
            windows or pieces are given.
        windows: windows over every utterance; or ``choose(wave_S, index) -> (N, 2)`` in seconds from the
            start of the utterance.
        pieces: ``cut(wave_S, index) -> waveforms``, which are embedded separately instead of the utterance.
            Both functions are called in the order of the utterances, by one thread at a time; an empty result
            gives (0, D), and a raised `InputError` counts as an error of the utterance.
        channel: channel of multichannel files if the utterance does not specify one; None averages all.
        on_error: treatment of an utterance whose file cannot be read or whose embedding is not finite:
            ``raise`` the InputError, ``skip`` the utterance and log the number of these at the end, or a
            function called with ``(utterance, error)``.
        cache: audio cache, for a fixed channel and speed.
        on_progress: called with (done, total).

    Raises:
        InputError: an utterance cannot be embedded, and ``on_error`` is ``raise``.
    """
    threads = usable_threads()
    extractor = Extractor(
        model,
        windows=windows,
        pieces=pieces,
        channel=channel,
        threads=threads,
        readers=threads,
        cache=cache,
    )
    done: dict[int, Outcome] = {}
    failed: list[tuple[Utterance, InputError]] = []
    following = 0

    def ready() -> Iterator[EmbeddedUtterance]:
        nonlocal following
        while following in done:
            outcome = done.pop(following)
            following += 1
            if outcome.embeddings_ND is not None:
                yield EmbeddedUtterance(outcome.index, outcome.utterance, outcome.embeddings_ND)
                continue
            assert outcome.error is not None
            if on_error == "raise":
                raise outcome.error
            failed.append((outcome.utterance, outcome.error))
            if on_error != "skip":
                on_error(outcome.utterance, outcome.error)

    def keep(outcomes: Sequence[Outcome]) -> None:
        done.update((outcome.index, outcome) for outcome in outcomes)

    try:
        with closing(extractor.run(utterances, keep)) as progress:
            for number in progress:
                on_progress(number, len(utterances))
                yield from ready()
        yield from ready()  # if the last ones failed, or all
    finally:
        if failed and on_error == "skip":
            utterance, error = failed[0]
            _log.warning("%d utterances left out, such as %r: %s", len(failed), utterance.id, error)
