"""Embeddings of the training speech by a distillation teacher, computed once and cached.

``CACHE/<data directory>-<hash of its path>/speed-<factor>`` is an output folder of ``sdpn extract``: it
has the fingerprint of the model and a signature of file and segment for every utterance, and can be resumed.

Shapes: N utterances, E teacher embedding.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sdpn.distill.distillation import DistillConfig
from sdpn.distill.targets import Targets
from sdpn.errors import InputError
from sdpn.extraction.embed_missing import embed_missing
from sdpn.extraction.extractor import Extractor
from sdpn.extraction.merge import Output, Status, merge, scan
from sdpn.extraction.settings import read_settings
from sdpn.extraction.shard import Shard
from sdpn.interop.load import load_model
from sdpn.io.kaldi import Utterance, read_vectors
from sdpn.models.embedder import Embedder, Precision
from sdpn.pretrained import model_path
from sdpn.progress import Report, unreported
from sdpn.threads import usable_threads
from sdpn.training.distributed import Processes

_log = logging.getLogger(__name__)


class Corpus(NamedTuple):
    """A data directory and its utterances."""

    directory: Path
    utterances: Sequence[Utterance]

    @property
    def key(self) -> str:
        """Name of its folder in the cache."""
        return f"{self.directory.resolve().name}-{zlib.crc32(os.fsencode(self.directory.resolve())):08x}"


def teacher_embeddings(
    config: DistillConfig,
    corpora: Sequence[Corpus],
    speeds: Sequence[Fraction],
    cache: Path,
    *,
    processes: Processes,
    max_missing_share: float,
    on_progress: Report = unreported,
) -> Targets:
    """Read the teacher's embeddings of all utterances; all processes first compute the missing ones.

    Args:
        config: settings of the teacher.
        corpora: the training speech.
        speeds: speeds at which every utterance is embedded.
        cache: folder of the embeddings.
        processes: the process group.
        max_missing_share: maximum share of utterances on which the teacher may fail.
        on_progress: called with (stage, done, total).

    Raises:
        InputError: no teacher is given, it cannot be read, it is missing and the cache is incomplete, the
            cache was computed by another teacher, or the teacher fails on too many utterances.
    """
    model = _load(config, cache, processes.device)
    rows: list[list[np.ndarray]] = [[] for _ in speeds]
    made_by: dict[str, Path] = {}
    for corpus in corpora:
        for own, speed in zip(rows, speeds, strict=True):
            output = Output(folder=cache / corpus.key / f"speed-{float(speed):g}")
            if model is not None:
                _embed(model, output, corpus, speed, config.teacher_precision, processes, on_progress)
            status = _table(output, corpus, config, processes)
            own.append(_rows(output, corpus, status, max_missing_share))
            settings = read_settings(output.progress)
            assert settings is not None
            made_by[settings.model] = output.folder
    if len(made_by) > 1:
        one, other = list(made_by.values())[:2]
        raise InputError(
            f"was computed by a different teacher than {other}", path=one, hint="remove one of the two"
        )
    parts = [torch.from_numpy(np.concatenate(own)) for own in rows]
    (teacher,) = made_by
    size = None if model is None else sum(tensor.numel() for tensor in model.encoder.parameters())
    return Targets(torch.stack(parts), tuple(map(float, speeds)), teacher, size)


def _load(config: DistillConfig, cache: Path, device: torch.device) -> Embedder | None:
    """Load the teacher; None if it no longer exists but its embeddings are cached."""
    if config.teacher is None:
        raise InputError(
            "objective=distill needs a teacher",
            hint="give --teacher MODEL, and --teacher-format if its files do not determine it "
            "(docs/distillation.md)",
        )
    teacher = model_path(config.teacher)
    if not teacher.exists() and cache.is_dir():
        _log.warning("the teacher %s does not exist: using its embeddings in %s", config.teacher, cache)
        return None
    return load_model(teacher, config.teacher_format, device=str(device))


def _embed(
    model: Embedder,
    output: Output,
    corpus: Corpus,
    speed: Fraction,
    precision: Precision,
    processes: Processes,
    on_progress: Report,
) -> None:
    """Compute the missing embeddings of this process's shard."""
    what = f"teacher, {corpus.directory.name}" + ("" if speed == 1 else f" at {float(speed):g}")
    threads = usable_threads()
    embed_missing(
        output,
        corpus.utterances,
        model,
        Extractor(model, threads=threads, readers=threads, speed=speed),
        shard=Shard(processes.rank, processes.world),
        precision=precision,
        on_progress=lambda done, total: on_progress(what, done, total),
    )


def _table(output: Output, corpus: Corpus, config: DistillConfig, processes: Processes) -> Status:
    """Merge the embeddings of all processes.

    Raises:
        InputError: embeddings are missing, and so is the teacher.
    """
    processes.gather(None)  # barrier: all shards are complete
    status = scan(output, corpus.utterances)
    if status.missing:
        raise InputError(
            f"lacks the teacher's embeddings of {len(status.missing)} of the {len(corpus.utterances)} "
            f"utterances of {corpus.directory}, such as {status.missing[0]!r}, and the teacher "
            f"{config.teacher} does not exist",
            path=output.folder,
            hint="restore the teacher, or set distill.cache to the folder with all embeddings",
        )
    if processes.first:
        merge(output, corpus.utterances, {}, npz=False)
    processes.gather(None)  # barrier: the merged table is complete
    return status


def _rows(output: Output, corpus: Corpus, status: Status, max_missing_share: float) -> np.ndarray:
    """Embeddings (N, E) float32 in the order of the data; zeros where the teacher failed.

    Raises:
        InputError: the teacher failed on too many utterances.
    """
    if len(status.failed) > max_missing_share * len(corpus.utterances):
        name, why = next(iter(status.failed.items()))
        raise InputError(
            f"the teacher could not embed {len(status.failed)} of {len(corpus.utterances)} utterances, "
            f"such as {name!r}: {why}",
            path=corpus.directory,
            hint="repair or remove the files, or raise training.max_bad_share",
        )
    embedding_of = read_vectors(output.ark)
    settings = read_settings(output.progress)
    assert settings is not None
    rows_NE = np.zeros((len(corpus.utterances), settings.embedding_dim), dtype=np.float32)
    for row, utterance in zip(rows_NE, corpus.utterances, strict=True):
        if utterance.id in status.finished:
            row[:] = embedding_of[utterance.id]
    return rows_NE
