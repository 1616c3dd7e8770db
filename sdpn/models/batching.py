"""Batches of utterances of similar lengths, up to the size that is efficient.

On CPUs a batch gains nothing beyond some ten seconds of audio, from where on one utterance alone keeps a core
busy, and its tensors leave the cache; a GPU needs hundreds of seconds (docs/extraction.md has the
measurements).
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
    """Sort utterances by length and cut the row into batches.

    Args:
        lengths: samples of each utterance, at least one.
        samples: most samples of a batch, padding included; a longer utterance stands alone.
        utterances: most utterances in a batch.

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
