#!/usr/bin/env python3
"""EER while training: an utterance at a time, as it once was, against `sdpn.training.evaluation`, in one run.

    OMP_NUM_THREADS=1 tools/benchmarks/training_eer.py DATA_DIR [UTTERANCES]

with the model included in sdpn; three rounds of both, the audio being in memory for the second alone.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import read_data_dir
from sdpn.models.embedder import Embedder
from sdpn.models.folder import read_model
from sdpn.pretrained import SHIPPED
from sdpn.training.distributed import Processes
from sdpn.training.evaluation import Evaluation, EvaluationConfig


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Time both in turn."""
    data, number = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 48
    model = read_model(SHIPPED)
    utterances = read_data_dir(data)[:number]
    with tempfile.TemporaryDirectory() as folder:
        trials = Path(folder) / "trials"
        lines = [f"{at % 2} {utterances[0].id} {each.id}\n" for at, each in enumerate(utterances)]
        trials.write_text("".join(lines))
        evaluation = Evaluation(
            EvaluationConfig(data=data, trials=trials),
            encoder=model.encoder_config,
            features=model.features,
            processes=Processes(0, 1, torch.device("cpu")),
        )

    def one_at_a_time() -> np.ndarray:
        embedder = Embedder(model)
        return np.stack([embedder.embed(utterance.read(), RATE_HZ) for utterance in utterances])

    first_s = seconds(lambda: evaluation.eer(model.encoder))
    print(f"{len(utterances)} utterances, {torch.get_num_threads()} threads; the first EER {first_s:.2f} s")
    for _ in range(3):
        before_s, after_s = seconds(one_at_a_time), seconds(lambda: evaluation.eer(model.encoder))
        print(f"one at a time {before_s:.2f} s, now {after_s:.2f} s: {before_s / after_s:.2f} times as fast")


if __name__ == "__main__":
    main()
