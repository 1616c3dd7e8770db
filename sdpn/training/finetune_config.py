"""The configuration of fine-tuning, every value with a default."""

from __future__ import annotations

from dataclasses import dataclass, field

from sdpn.augmentation.augment import AugmentationChoice, AugmentationConfig
from sdpn.data.crops import CropConfig
from sdpn.distill.base import TeacherConfig
from sdpn.distill.sdpn import SDPNConfig
from sdpn.distill.supervised import SupervisedConfig
from sdpn.models.adapters import AdaptersConfig
from sdpn.models.heads import HeadConfig
from sdpn.training.config import TrainingConfig
from sdpn.training.evaluation import EvaluationConfig
from sdpn.training.guards import GuardConfig
from sdpn.training.layers import LayersConfig
from sdpn.training.optim import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class TestConfig:
    """Comparison of the model before and after.

    Attributes:
        most_trials: of a list that is made from ``utt2spk``; more pairs are drawn at random.
        resamples: bootstrap resamples of the speakers.
        seed: random seed of both.
    """

    __test__ = False  # not one of pytest's

    most_trials: int = 50_000
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.most_trials < 2 or self.resamples < 1 or self.seed < 0:
            raise ValueError("most_trials must be at least 2, resamples positive, seed not negative")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """All settings of ``sdpn finetune``, in a YAML file or as ``section.key=value``.

    Encoder and features are those of the model. Sections shared with `RunConfig` have the same meaning;
    ``teacher``, ``sdpn`` and ``head`` are of unlabelled speech, but for the EMA, which both have.
    """

    layers: LayersConfig = field(default_factory=LayersConfig)
    adapters: AdaptersConfig = field(default_factory=AdaptersConfig)
    supervised: SupervisedConfig = field(default_factory=SupervisedConfig)
    crops: CropConfig = field(default_factory=lambda: CropConfig(num_local=2, local_s=2.0))
    augmentation: AugmentationChoice = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=3e-4, warmup_steps=20))
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=400, checkpoint_every=100))
    teacher: TeacherConfig = field(default_factory=lambda: TeacherConfig(momentum=0.9))
    sdpn: SDPNConfig = field(default_factory=SDPNConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    guards: GuardConfig = field(default_factory=GuardConfig)
    evaluation: EvaluationConfig = field(default_factory=lambda: EvaluationConfig(every=50))
    test: TestConfig = field(default_factory=TestConfig)
