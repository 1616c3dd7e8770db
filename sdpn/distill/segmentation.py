"""Local segmentation: who of a few speakers speaks in each frame of a window, whatever the speakers' order.

The classes are sets of speakers (`sdpn.models.powerset`). A window's speakers have no order, so that the loss
is the cross-entropy under the order that fits best. The prototypes are the weights of the classifier, one row
for each class. The exported network is an EMA of the student.

Shapes: B batch, S samples, T frames, C classes, L local speakers, P orders of the speakers, H hidden units.

Sources: permutation-free training: Fujita et al., "End-to-end neural speaker diarization with
permutation-free objectives", Interspeech 2019, arXiv 1909.05952; powerset classes: Plaquet and Bredin,
arXiv 2310.13025.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sdpn.distill.base import Gradients, LossTerms, Objective
from sdpn.models.powerset import membership
from sdpn.models.segmentation_net import SegmentationNet, SegmentationNetConfig

#: Every so many frames, one is watched for collapse: half a second.
_WATCHED = 25


@dataclass(frozen=True, kw_only=True)
class LocalSpeakersConfig:
    """The network, and the simulated conversations that it learns from.

    Turns are drawn from the statistics of VoxConverse, as those of `sdpn simulate`, with other rates: a
    window of some seconds would mostly hold one speaker.

    Attributes:
        network: sizes of the network.
        window_s: length of a window in seconds.
        max_cast: speakers of a conversation, 1 to this many, all equally likely. Of a window with more than
            ``network.num_speakers``, those who say most are heard.
        turn_share: length of turns, as a share of VoxConverse's.
        overlap_rate: rate of overlaps and interjections, as a multiple of VoxConverse's.
        same_corpus: probability that a further speaker is of the first one's corpus, and so of the same kind
            of microphone and room.
        level_spread_db: standard deviation of the speakers' levels.
        silent_share: share of windows in which nobody speaks, and only the noise is left.
        sparse_share: share of windows that lose most of their phrases. In the others, pauses are short, and a
            network that knows no others takes the sounds of a quiet room for speech.
        held_out: share of the speakers of each corpus who are kept for validation, at least
            ``max_cast`` together.
        validation_windows: windows of theirs.
    """

    network: SegmentationNetConfig = field(default_factory=SegmentationNetConfig)
    window_s: float = 10.0
    max_cast: int = 4
    turn_share: float = 0.4
    overlap_rate: float = 3.0
    same_corpus: float = 0.7
    level_spread_db: float = 4.0
    silent_share: float = 0.02
    sparse_share: float = 0.0
    held_out: float = 0.05
    validation_windows: int = 120

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 1.0 <= self.window_s <= 120.0 or not 1 <= self.max_cast <= 20:
            raise ValueError("window_s must lie between 1 and 120, max_cast between 1 and 20")
        if not 0.05 <= self.turn_share <= 10.0 or not 0.0 <= self.overlap_rate <= 100.0:
            raise ValueError("turn_share must lie between 0.05 and 10, overlap_rate between 0 and 100")
        for name in ("same_corpus", "silent_share", "sparse_share", "held_out"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a share, 0 to 1")
        if not 0.0 <= self.level_spread_db <= 20.0 or self.validation_windows < 1:
            raise ValueError("level_spread_db must lie between 0 and 20; a validation window is needed")

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        return round(self.window_s * 16_000)


class ClassedWindows(NamedTuple):
    """One training batch.

    Attributes:
        wave_BS: (B, S) float32 samples, at the level that recordings are brought to.
        class_BT: (B, T) int64, the powerset class of each frame.
    """

    wave_BS: Tensor
    class_BT: Tensor

    def to(self, device: torch.device) -> ClassedWindows:
        """Move to a device."""
        return ClassedWindows(*(part.to(device, non_blocking=True) for part in self))


class Segmentation(Objective):
    """Trains a segmentation network on windows with known speakers.

    Args:
        student: the network.
    """

    class_of_PC: Tensor

    def __init__(self, student: SegmentationNet) -> None:
        super().__init__()
        self.features = nn.Identity()  # the network takes samples
        self.student: SegmentationNet = student
        self.teacher: SegmentationNet = copy.deepcopy(student)
        self.teacher.requires_grad_(False)
        weight_CH = student.classifier.weight
        assert isinstance(weight_CH, nn.Parameter)
        self.prototypes = weight_CH
        config = student.config
        table_PC = permuted_classes(config.num_speakers, config.max_together)
        self.register_buffer("class_of_PC", torch.from_numpy(table_PC), persistent=False)

    def forward(self, batch: ClassedWindows, given: Gradients | None = None) -> LossTerms:
        """Cross-entropy per frame under the best order of each window's speakers.

        Args:
            batch: windows and their classes.
            given: must be None: there is nothing to cache, since windows do not depend on each other.
        """
        assert given is None
        hidden_BTH = self.student.hidden(batch.wave_BS)
        log_p_BTC = self.student.classifier(hidden_BTH).float().log_softmax(dim=-1)
        ce_B, order_B = permutation_free(log_p_BTC, batch.class_BT, self.class_of_PC)
        ce = ce_B.mean()
        with torch.no_grad():
            truth_BT = self.class_of_PC[order_B].gather(1, batch.class_BT)
            error = (log_p_BTC.argmax(dim=-1) != truth_BT).float().mean()
            watched_BTC = log_p_BTC[:, ::_WATCHED].exp()
            hidden_NH = hidden_BTH.detach()[:, ::_WATCHED].flatten(0, 1).float()
        return LossTerms(
            ce,
            {"ce": ce.detach(), "frame_error": error},
            watched_BTC.flatten(0, 1),
            hidden_NH,
            hidden_NH[:0],
        )

    def start_from(self, network: nn.Module) -> None:
        """Take the weights of a trained network.

        Args:
            network: of the same sizes.

        Raises:
            RuntimeError: it has other sizes.
        """
        for own in (self.student, self.teacher):
            own.load_state_dict(network.state_dict())

    def after_step(self, momentum: float, terms: LossTerms) -> None:
        """Update the teacher, see `Objective.after_step`; it is never run, so that it needs the buffers."""
        super().after_step(momentum, terms)
        self._copy_buffers()


def permutation_free(log_p_BTC: Tensor, class_BT: Tensor, class_of_PC: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each window under its best order of speakers (B,), and that order (B,).

    Args:
        log_p_BTC: log-probabilities of the classes.
        class_BT: the true classes, in any order of the speakers.
        class_of_PC: from `permuted_classes`.
    """
    truth_PBT = class_of_PC[:, class_BT]
    wide_PBTC = log_p_BTC.expand(len(truth_PBT), *log_p_BTC.shape)
    ce_PB = -wide_PBTC.gather(-1, truth_PBT[..., None]).squeeze(-1).mean(dim=-1)
    best = ce_PB.min(dim=0)
    return best.values, best.indices


def permuted_classes(num_speakers: int, max_together: int) -> np.ndarray:
    """The class that each class becomes if the speakers change their places, (P, C) int64."""
    member_CL = membership(num_speakers, max_together).astype(bool)
    code_L = 1 << np.arange(num_speakers)
    class_of_code = {int(code): index for index, code in enumerate(member_CL @ code_L)}
    rows = [
        [class_of_code[int(code)] for code in member_CL[:, order] @ code_L]
        for order in map(list, permutations(range(num_speakers)))
    ]
    return np.array(rows, dtype=np.int64)


def classes_of(active_TL: np.ndarray, max_together: int) -> np.ndarray:
    """The powerset class of each frame (T,) int64.

    Args:
        active_TL: who speaks, bool. Where more than ``max_together`` do, those who speak most are kept.
        max_together: speakers at the same time, at most.
    """
    num_speakers = active_TL.shape[1]
    by_speech = np.argsort(-active_TL.sum(axis=0), kind="stable")
    kept_TL = active_TL.copy()
    kept_TL[:, by_speech] &= np.cumsum(active_TL[:, by_speech], axis=1) <= max_together
    code_L = 1 << np.arange(num_speakers)
    class_of_code: Any = np.full(1 << num_speakers, -1, dtype=np.int64)
    member_CL = membership(num_speakers, max_together).astype(np.int64)
    class_of_code[member_CL @ code_L] = np.arange(len(member_CL))
    classes_T: np.ndarray = class_of_code[kept_TL.astype(np.int64) @ code_L]
    return classes_T
