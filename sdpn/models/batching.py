"""Batches of utterances of similar lengths, up to the size that is efficient.

On CPUs, batches of more than about ten seconds of audio are no faster: a single utterance of that length
keeps a core busy, and the tensors no longer fit into the cache. A GPU needs hundreds of seconds
(measurements: docs/extraction.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Seconds of audio, padding included, that a batch holds at most, by the type of the device.
SECONDS_AT_ONCE = {"cpu": 12.0, "cuda": 240.0}
#: Maximum number of utterances in a batch.
UTTERANCES_AT_ONCE = {"cpu": 32, "cuda": 256}
#: Maximum share of padding in a batch: a trade-off against the cost of more batches.
_PADDING = 0.1


def batches_by_length(lengths: Sequence[int], *, samples: int, utterances: int) -> list[list[int]]:
    """Sort utterances by length and split them into batches.

    Args:
        lengths: samples of each utterance, at least one.
        samples: maximum samples of a batch, padding included; a longer utterance is a batch of its own.
        utterances: maximum number of utterances in a batch.

    Returns:
        indices into ``lengths``, each once; in a batch the longest first, and no utterance more than a tenth
        shorter than that.
    """
    batches: list[list[int]] = []
    longest = 0
    for index in np.argsort(np.negative(lengths), kind="stable").tolist():
        batch = batches[-1] if batches else []
        fits = len(batch) < utterances and (len(batch) + 1) * longest <= samples
        if batch and fits and lengths[index] >= (1 - _PADDING) * longest:
            batch.append(index)
        else:
            batches.append([index])
            longest = lengths[index]
    return batches
