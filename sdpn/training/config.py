"""The configuration of a training run: one section for each part, every value with a default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sdpn.data.augment import AugmentationConfig
from sdpn.data.crops import CropConfig
from sdpn.data.features import FeatureConfig
from sdpn.distill.network import SDPNConfig
from sdpn.models.ecapa import EcapaConfig
from sdpn.models.heads import HeadConfig
from sdpn.training.optim import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The loop.

    Attributes:
        seed: decides initial weights, order, crops and augmentation.
        steps: optimizer steps; 0 exports the network as initialised.
        batch_size: utterances B in a step.
        precision: of the network's matrix products; ``auto`` takes bf16 where the processor has instructions
            for it, else fp32. The loss is always computed in fp32.
        workers: loader processes; 0 loads in the training process.
        cache_mb: memory for decoded audio, for each worker.
        log_every: steps between two points of the training curves.
        watch_every: steps between two looks at the prototypes (drift, usage, similarity).
        checkpoint_every: steps between checkpoints.
        keep_checkpoints: how many to keep.
    """

    seed: int = 0
    steps: int = 1000
    batch_size: int = 32
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    workers: int = 1
    cache_mb: int = 1024
    log_every: int = 10
    watch_every: int = 50
    checkpoint_every: int = 200
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.seed < 0 or self.steps < 0 or self.workers < 0 or self.cache_mb < 0:
            raise ValueError("seed, steps, workers and cache_mb must not be negative")
        if self.batch_size < 2:
            raise ValueError("batch_size must be at least 2: batch norm and KoLeo compare utterances")
        if min(self.log_every, self.watch_every, self.checkpoint_every, self.keep_checkpoints) < 1:
            raise ValueError("log_every, watch_every, checkpoint_every, keep_checkpoints must be at least 1")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that ``sdpn train`` can be told in a YAML file or as ``section.key=value``."""

    features: FeatureConfig = field(default_factory=FeatureConfig)
    encoder: EcapaConfig = field(default_factory=EcapaConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    sdpn: SDPNConfig = field(default_factory=SDPNConfig)
    crops: CropConfig = field(default_factory=CropConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
