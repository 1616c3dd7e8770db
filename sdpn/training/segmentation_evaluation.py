"""A segmentation network on simulated windows of held-out speakers, during training.

Shapes: B batch, T frames, C classes, L local speakers.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from sdpn.distill.base import Objective
from sdpn.distill.segmentation import ClassedWindows, permutation_free, permuted_classes
from sdpn.models.powerset import membership
from sdpn.models.segmentation_net import SegmentationNet
from sdpn.training.simulated_windows import SimulatedWindows

#: Windows in a batch.
_AT_ONCE = 8


class SegmentationEvaluation:
    """Frame errors of the exported network; the windows are the same each time.

    Args:
        windows: of speakers that are not trained on.
        num_windows: how many are drawn.
        every: steps between evaluations; the last step is always evaluated.
    """

    def __init__(self, windows: SimulatedWindows, num_windows: int, *, every: int) -> None:
        self._windows = windows
        self._num_windows = num_windows
        self._every = every
        self._batches: list[ClassedWindows] | None = None

    def is_due(self, step: int, *, last: bool) -> bool:
        """Whether the network is evaluated after this step."""
        return last or step % self._every == 0

    def share(self, network: Objective) -> None:
        """Processes other than rank 0 have nothing to do."""

    @torch.no_grad()
    def figures(self, network: Objective) -> dict[str, float]:
        """Shares by their TensorBoard tags.

        ``evaluation/frame_error`` of frames with a wrong set of speakers; of all speaker time
        ``evaluation/der``, the sum of ``missed``, ``false_alarm`` and ``confusion``, under the best order of
        the speakers of each window; ``overlap_recall`` and ``overlap_precision`` of frames with two speakers.
        """
        if self._batches is None:
            self._batches = self._drawn()
        own = network.teacher
        assert isinstance(own, SegmentationNet)
        device = network.prototypes.device
        was_training = own.training
        own.eval()
        try:
            return frame_figures(
                [(own(batch.wave_BS.to(device)).float().cpu(), batch.class_BT) for batch in self._batches],
                own.config.num_speakers,
                own.config.max_together,
            )
        finally:
            own.train(was_training)

    def _drawn(self) -> list[ClassedWindows]:
        epochs, size = range(self._num_windows), len(self._windows)
        order = np.random.default_rng(0).permutation(size)
        items = [(place // size, int(order[place % size])) for place in epochs]
        return [
            self._windows.collate(self._windows.__getitems__(items[start : start + _AT_ONCE]))[0]
            for start in range(0, len(items), _AT_ONCE)
        ]


def frame_figures(
    outputs: list[tuple[torch.Tensor, torch.Tensor]], num_speakers: int, max_together: int
) -> dict[str, float]:
    """Errors over frames, see `SegmentationEvaluation.figures`.

    Args:
        outputs: log-probabilities (B, T, C) and true classes (B, T) of batches.
        num_speakers: local speakers.
        max_together: of whom speak at the same time, at most.
    """
    table_PC = torch.from_numpy(permuted_classes(num_speakers, max_together))
    member_CL = torch.from_numpy(membership(num_speakers, max_together))
    counts: Counter[str] = Counter()
    for log_p_BTC, class_BT in outputs:
        _, order_B = permutation_free(log_p_BTC, class_BT, table_PC)
        truth_BT = table_PC[order_B].gather(1, class_BT)
        found_BT = log_p_BTC.argmax(dim=-1)
        true_BTL, found_BTL = member_CL[truth_BT], member_CL[found_BT]
        num_true_BT, num_found_BT = true_BTL.sum(dim=-1), found_BTL.sum(dim=-1)
        right_BT = (true_BTL * found_BTL).sum(dim=-1)
        for name, values_BT in (
            ("frames", torch.ones_like(truth_BT)),
            ("wrong", found_BT != truth_BT),
            ("speech", num_true_BT),
            ("missed", (num_true_BT - num_found_BT).clamp(min=0)),
            ("false_alarm", (num_found_BT - num_true_BT).clamp(min=0)),
            ("confusion", torch.minimum(num_true_BT, num_found_BT) - right_BT),
            ("overlap", num_true_BT > 1),
            ("overlap_found", num_found_BT > 1),
            ("overlap_right", (num_true_BT > 1) & (num_found_BT > 1)),
        ):
            counts[name] += int(values_BT.sum())
    errors = ("missed", "false_alarm", "confusion")
    shares = {name: counts[name] / max(counts["speech"], 1) for name in errors}
    values = {
        "frame_error": counts["wrong"] / max(counts["frames"], 1),
        "der": sum(shares.values()),
        **shares,
        "overlap_recall": counts["overlap_right"] / max(counts["overlap"], 1),
        "overlap_precision": counts["overlap_right"] / max(counts["overlap_found"], 1),
    }
    return {f"evaluation/{name}": value for name, value in values.items()}
