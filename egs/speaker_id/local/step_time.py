"""CPU time of a training step of several configurations, measured side by side.

A busy machine slows all of them alike: every round takes one step of each; the median round counts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import torch

from sdpn.data.mel_folder import MelReader, MelSegments
from sdpn.training.build import build
from sdpn.training.config import RunConfig
from sdpn.training.distributed import Processes
from sdpn.training.labelled import Labelled
from sdpn.training.step import Update

#: Rounds that are not counted, and that are.
_WARMUP, _COUNTED = 3, 15


def step_times(configs: Mapping[str, RunConfig], reader: MelReader, labelled: Labelled) -> dict[str, float]:
    """CPU seconds of a training step of each configuration, drawing its segments included.

    Args:
        configs: by name.
        reader: reads the features.
        labelled: what of them to train on.
    """
    updates = {}
    for name, config in configs.items():
        torch.manual_seed(0)
        network = build(config, labelled.labels, given_features=True).train()
        updates[name] = Update(config, network, Processes(0, 1, torch.device("cpu")))
    segments = {
        name: MelSegments(
            reader,
            labelled.utterances,
            labelled.mixture,
            num_frames=round(1000 * config.crops.local_s / config.features.hop_ms),
            views=config.crops.num_local,
            seed=0,
        )
        for name, config in configs.items()
    }
    taken: dict[str, list[float]] = {name: [] for name in configs}
    for _ in range(_WARMUP + _COUNTED):
        for name, config in configs.items():
            # the same utterances in every round: those of training are read from memory, too
            items = [(0, index % len(labelled.utterances)) for index in range(config.training.batch_size)]
            began_s = time.process_time()
            batch, _ = segments[name].collate(segments[name].__getitems__(items))
            updates[name](batch, lr=1e-5, momentum=0.0)
            taken[name].append(time.process_time() - began_s)
    return {name: float(np.median(times[_WARMUP:])) for name, times in taken.items()}
