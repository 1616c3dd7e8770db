"""A corpus to tables of embeddings: what ``sdpn extract`` does, in one process or in its share of several."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdpn.errors import InputError
from sdpn.extraction.clips import WindowPlan, parse_windows
from sdpn.extraction.embed_missing import Embedded, embed_missing
from sdpn.extraction.extractor import Extractor
from sdpn.extraction.merge import Output, Status, merge, merge_lock, scan
from sdpn.extraction.shard import Shard
from sdpn.io.kaldi import Utterance, read_segments
from sdpn.models.speaker_embedder import Precision, SpeakerEmbedder
from sdpn.threads import usable_threads


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What a call did, and the state of the output.

    Attributes:
        output: the files.
        shard: which utterances were this process's.
        num_utterances: of the data.
        status: of the output after the call.
        merged: whether the tables were written; otherwise utterances of other shards are missing.
        failed: why utterances have no embedding, by id: all, or those of this shard until the tables are
            written.
        embedded: what this process did; None where it only merged.
        device: where it computed.
        seconds: how long it took to embed.
    """

    output: Output
    shard: Shard
    num_utterances: int
    status: Status
    merged: bool
    failed: Mapping[str, str]
    embedded: Embedded | None = None
    device: str | None = None
    seconds: float = 0.0

    @property
    def num_embeddings(self) -> int:
        """Embeddings in the output."""
        return sum(entry.num_vectors for entry, _ in self.status.finished.values())

    @property
    def total_duration_s(self) -> float:
        """Speech behind them, in seconds."""
        return sum(entry.duration_s for entry, _ in self.status.finished.values())

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON."""
        results: dict[str, Any] = {
            "scp": str(self.output.scp.resolve()),
            "num_utterances": self.num_utterances,
            "shard": str(self.shard),
        }
        if self.embedded is not None:
            results |= {
                "embedding_dim": self.embedded.settings.embedding_dim,
                "precision": self.embedded.settings.precision,
                "device": self.device,
                "num_embedded_now": self.embedded.number,
                "duration_s": self.embedded.duration_s,
                "seconds": self.seconds,
            }
        results |= {"merged": self.merged, "num_failed": len(self.failed)}
        if self.merged:
            results |= {
                "num_embeddings": self.num_embeddings,
                "failed": dict(self.failed),
                "total_duration_s": self.total_duration_s,
            }
        return results


def extract(
    model: SpeakerEmbedder,
    utterances: Sequence[Utterance],
    out: Path,
    *,
    windows: WindowPlan | str | None = None,
    recordings: Mapping[str, str] | None = None,
    precision: Precision | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    readers: int | None = None,
    shard: Shard = Shard(),  # noqa: B008 - frozen
    npz: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Extraction:
    """Embed what the output lacks, and write its tables once nothing is missing.

    Args:
        model: from `sdpn.load_model`, on the device that computes.
        utterances: all of the data (`sdpn.io.inputs.find_utterances`).
        out: folder for ``embeddings.ark`` and ``.scp``. Until they are written, results are kept below it,
            and the same call resumes from there.
        windows: one embedding for each window, such as "1.5/0.75"; None: one for each utterance.
        recordings: utterance -> recording, for the times of windows (`recordings_of`).
        precision: of the network; None times both at the start where the processor supports bf16.
        batch_size: most utterances in a batch; None: depends on the device.
        threads: utterances embedded in parallel on a CPU; None: number of cores.
        readers: files read in parallel; None: as ``threads``.
        shard: which utterances are this process's.
        npz: also write ``embeddings.npz``.
        on_progress: called with (done, total).

    Raises:
        InputError: the output was begun in another way, is damaged or cannot be written, or nothing could be
            embedded. Single utterances that cannot be read are in `Extraction.failed`.
    """
    if precision is not None and precision not in model.precisions:
        raise InputError(f"--precision {precision} does not apply to ONNX graphs, whose precision is fixed")
    threads = threads or usable_threads()
    extractor = Extractor(
        model,
        windows=parse_windows(windows) if isinstance(windows, str) else windows,
        threads=threads,
        readers=readers or threads,
        batch_size=batch_size,
    )
    output = Output(folder=out)
    started = time.perf_counter()
    embedded = embed_missing(
        output, utterances, model, extractor, shard=shard, precision=precision, on_progress=on_progress
    )
    seconds = time.perf_counter() - started
    with merge_lock(output):
        status = scan(output, utterances)
    failed = status.failed
    if status.missing:
        own = {utterance.id for utterance in shard.of(utterances)}
        failed = {name: why for name, why in status.failed.items() if name in own}
    else:
        status = merge(output, utterances, recordings or {}, npz=npz)
    return Extraction(
        output=output,
        shard=shard,
        num_utterances=len(utterances),
        status=status,
        merged=not status.missing,
        failed=failed,
        embedded=embedded,
        device=str(model.device),
        seconds=seconds,
    )


def merge_shards(
    utterances: Sequence[Utterance],
    out: Path,
    *,
    recordings: Mapping[str, str] | None = None,
    npz: bool = False,
) -> Extraction:
    """Write the tables from the results of all shards, without embedding anything.

    Args:
        utterances: all of the data.
        out: the folder of the shards.
        recordings: see `extract`.
        npz: also write ``embeddings.npz``.

    Raises:
        InputError: utterances are missing, or the output is damaged or cannot be written.
    """
    output = Output(folder=out)
    status = merge(output, utterances, recordings or {}, npz=npz)
    return Extraction(
        output=output,
        shard=Shard(),
        num_utterances=len(utterances),
        status=status,
        merged=True,
        failed=status.failed,
    )


def recordings_of(data: Path | None) -> dict[str, str]:
    """Utterance -> recording in a data directory that has ``segments``; nothing for any other data."""
    if data is None or not (data / "segments").is_file():
        return {}
    return {segment.id: segment.recording for segment in read_segments(data / "segments")}
