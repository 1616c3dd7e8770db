"""What must be unchanged for a run to go on from a checkpoint: its settings and its data."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from sdpn.data.sampler import Mixture
from sdpn.data.utterance_table import UtteranceTable
from sdpn.distill.labels import Labels
from sdpn.distill.targets import Targets
from sdpn.io.checksum import file_sha256
from sdpn.training.segmentation_data import SegmentationData

#: Settings that may change when a run is resumed, because they do not affect the result.
_FREE_OF_TRAINING = (
    "workers",
    "cache_mb",
    "max_bad_share",
    "log_every",
    "checkpoint_every",
    "checkpoint_minutes",
    "keep_checkpoints",
    "keep_every",
    "projector_every",
    "explain_every",
    "timeout_minutes",
    "rendezvous_minutes",
)

#: The same for the section ``distill``.
_FREE_OF_DISTILL = ("teacher", "teacher_format", "teacher_precision", "cache")


def run_identity(
    configuration: dict[str, Any],
    utterances: UtteranceTable,
    mixture: Mixture,
    labels: Labels | None,
    targets: Targets | None,
    simulated: SegmentationData | None = None,
) -> dict[str, Any]:
    """Settings and data that must be unchanged to resume from a checkpoint."""
    ids = hashlib.sha256()
    channels: list[int | None] = []
    for number, (key, start_s, end_s, channel) in enumerate(utterances.stretches()):
        line = f"{key} {start_s} {end_s}"
        ids.update((f"\n{line}" if number else line).encode())
        if channel is not None or channels:
            channels.append(channel)
    if channels:
        ids.update(f"\n{[None] * (len(utterances) - len(channels)) + channels}".encode())
    if mixture.weights:  # otherwise corpus boundaries have no effect
        ids.update(f"\n{mixture.sizes}".encode())
    if labels is not None:
        ids.update(f"\n{labels.label_N.tolist()}".encode())
        if labels.names:
            ids.update(f"\n{labels.names}".encode())
    if simulated is not None:
        ids.update(f"\n{simulated.digest}".encode())
    training = {
        key: value for key, value in configuration["training"].items() if key not in _FREE_OF_TRAINING
    }
    watched = {key: value for key, value in configuration.items() if key != "evaluation"}
    if configuration["evaluation"]["choose"]:
        trials = Path(configuration["evaluation"]["trials"])
        watched["chosen"] = [configuration["evaluation"]["every"], file_sha256(trials)[:16]]
    if targets is not None:  # the embeddings count, not where teacher and cache are
        objective = {key: value for key, value in watched["distill"].items() if key not in _FREE_OF_DISTILL}
        watched["distill"] = {**objective, "targets": targets.digest}
    return {**watched, "training": training, "data": ids.hexdigest()[:16]}
