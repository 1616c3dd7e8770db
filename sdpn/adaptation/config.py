"""The configuration of an adaptation, every value with a default."""

from __future__ import annotations

from dataclasses import dataclass, field

from sdpn.adaptation.decision import DecisionConfig
from sdpn.adaptation.segments import SegmentConfig
from sdpn.augmentation.augment import AugmentationChoice, AugmentationConfig
from sdpn.data.crops import CropConfig
from sdpn.distill.base import TeacherConfig
from sdpn.training.config import TrainingConfig
from sdpn.training.guards import GuardConfig
from sdpn.training.optim import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """Training data, held-out data, and interpolation with the old model.

    Attributes:
        held_out: share of the recordings, and of the rehearsed utterances, held out for comparing the adapted
            model with the old one.
        rehearsal: share of the original training speech (``--rehearse``) in every batch, if given.
        blend: weights of the result are old + blend · (trained − old), as in WiSE-FT (arXiv 2109.01903); None
            is 1 with rehearsal and 0.5 without, where nothing else prevents forgetting.
    """

    held_out: float = 0.25
    rehearsal: float = 0.5
    blend: float | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 < self.held_out < 1 or not 0 < self.rehearsal < 1:
            raise ValueError("held_out and rehearsal must lie between 0 and 1")
        if self.blend is not None and not 0 < self.blend <= 1:
            raise ValueError("blend must be above 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class AdaptConfig:
    """All settings of ``sdpn adapt``, given as ``section.key=value``.

    Encoder, features, head and number of prototypes are those of the model. Sections shared with `RunConfig`
    have the same meaning.
    """

    segments: SegmentConfig = field(default_factory=SegmentConfig)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    verdict: DecisionConfig = field(default_factory=DecisionConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    crops: CropConfig = field(default_factory=CropConfig)
    augmentation: AugmentationChoice = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=3e-4, warmup_steps=20))
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=150, checkpoint_every=50))
    guards: GuardConfig = field(default_factory=GuardConfig)
