"""The configuration of a training run. Every value has a default."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sdpn.augmentation.augment import AugmentationChoice, AugmentationConfig
from sdpn.config import load_config
from sdpn.data.crops import CropConfig
from sdpn.distill.base import TeacherConfig
from sdpn.distill.dino import DINOConfig
from sdpn.distill.distillation import DistillConfig
from sdpn.distill.pseudo import PseudoConfig
from sdpn.distill.sdpn import SDPNConfig
from sdpn.distill.segmentation import LocalSpeakersConfig
from sdpn.distill.supervised import SupervisedConfig
from sdpn.errors import InputError
from sdpn.features.log_mel import FeatureConfig
from sdpn.features.registry import FeatureChoice
from sdpn.interop.segmentation import load_segmentation
from sdpn.models.adapters import AdaptersConfig
from sdpn.models.ecapa import EcapaConfig
from sdpn.models.folder import read_model
from sdpn.models.heads import HeadConfig
from sdpn.models.registry import EncoderChoice
from sdpn.models.segmentation_net import SegmentationNet
from sdpn.pretrained import model_path
from sdpn.training.compilation import CompileChoice
from sdpn.training.evaluation import EvaluationConfig
from sdpn.training.guards import GuardConfig
from sdpn.training.initialisation import InitialConfig
from sdpn.training.layers import LayersConfig
from sdpn.training.optim import OptimizerConfig
from sdpn.training.tf32 import TF32Choice

#: Objectives whose batches have no global crops, because no teacher hears them.
WITHOUT_TEACHER = ("distill", "supervised", "segmentation")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The training loop.

    Attributes:
        seed: random seed of initial weights, order, crops and augmentation.
        steps: number of optimizer steps; 0 exports the initial network.
        batch_size: utterances B per step, over all processes.
        corpus_weights: relative weight of each ``--data`` directory in the batches; empty: every utterance
            has the same weight, and an epoch is one pass over all directories.
        shuffle_buffer: 0 draws the utterances of a batch from all of the data. n reads the data in the order
            of their files, tar shards in random order, and shuffles locally, within n utterances: for disks
            and networks with slow random access. Several times as large as a shard, where a shard holds few
            speakers.
        accumulate: number of parts in which a batch is processed to save memory (gradient caching).
        device: cpu, cuda, or ``auto``: a GPU if available.
        precision: precision of the network's matrix products: fp32, bf16, fp16 (with loss scaling), or
            ``auto``: bf16 where the processor has instructions for it, else fp32. The loss is always computed
            in fp32.
        tf32: what a GPU may multiply in TF32 where fp32 remains: none, convolutions (torch's own choice), or
            all, with products of matrices.
        compile: `torch.compile` for student and teacher: ``none``, ``kernels``, ``cuda-graphs`` (which also
            records what is launched on a GPU), or ``auto``, which measures them before the first step, for a
            minute or two, and takes the fastest; ``none`` if crops have several lengths, or with several
            processes. The results differ by rounding.
        workers: loader processes per training process; 0 loads in the training process itself, ``auto`` takes
            all cores of the host but one for each training process, at most 8.
        augment: where crops are augmented, up to rounding with the same result: in the ``loader``, or in
            batches on the training ``device``, so that loader processes only decode and cut. ``auto``: on the
            device if it is a GPU and no codec is drawn, which only a CPU can apply.
        cache_mb: memory for decoded audio per worker, in MB.
        max_bad_share: maximum share of unreadable audio files; up to it they are skipped, counted and
            reported, beyond it the run stops.
        log_every: steps between points of the training curves.
        watch_every: steps between evaluations of the prototypes (drift, usage, similarity).
        projector_every: steps between snapshots for TensorBoard's projector; 0 only writes one at the end.
        explain_every: steps between maps of three fixed utterances and histograms of weights, activations and
            gradients by layer (`sdpn explain`); 0 writes none. They do not affect training.
        checkpoint_every: steps between checkpoints.
        checkpoint_minutes: maximum minutes between checkpoints; 0 saves by steps only.
        keep_checkpoints: number of most recent checkpoints to keep.
        keep_every: keep checkpoints at multiples of this step permanently, for `sdpn drift`; 0 keeps none.
        timeout_minutes: several processes: how long one waits for the others in a collective (of NCCL on
            GPUs, of gloo on CPUs), for example while rank 0 writes, before the run ends with an error.
        rendezvous_minutes: several processes: how long they wait for each other at the start.
        sync_batch_norm: several processes: batch norm over the rows of all of them, so that their number does
            not change the run. False normalises the rows of each process on their own, without a round trip
            for each layer and direction.
    """

    seed: int = 0
    steps: int = 1000
    batch_size: int = 32
    corpus_weights: tuple[float, ...] = ()
    shuffle_buffer: int = 0
    accumulate: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    tf32: TF32Choice = "convolutions"
    compile: CompileChoice = "none"
    workers: int | Literal["auto"] = 1
    augment: Literal["auto", "loader", "device"] = "loader"
    cache_mb: int = 1024
    max_bad_share: float = 0.01
    log_every: int = 10
    watch_every: int = 50
    projector_every: int = 0
    explain_every: int = 0
    checkpoint_every: int = 200
    checkpoint_minutes: float = 5.0
    keep_checkpoints: int = 2
    keep_every: int = 0
    timeout_minutes: float = 60.0
    rendezvous_minutes: float = 10.0
    sync_batch_norm: bool = True

    def __post_init__(self) -> None:
        """Check ranges."""
        workers = 0 if self.workers == "auto" else self.workers
        if min(self.seed, self.steps, workers, self.cache_mb, self.shuffle_buffer) < 0:
            raise ValueError("seed, steps, workers, cache_mb and shuffle_buffer must not be negative")
        if not 0 <= self.max_bad_share <= 1:
            raise ValueError("max_bad_share must lie between 0 and 1")
        if self.accumulate < 1 or self.batch_size < 2 * self.accumulate or self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of accumulate ({self.accumulate}), with "
                "at least 2 utterances in each part: batch norm and KoLeo compare utterances"
            )
        if (
            min(self.projector_every, self.explain_every, self.keep_every) < 0
            or not 0 <= self.checkpoint_minutes < math.inf
        ):
            raise ValueError(
                "projector_every, explain_every, keep_every and checkpoint_minutes must not be negative"
            )
        if not all(0 < minutes < math.inf for minutes in (self.timeout_minutes, self.rendezvous_minutes)):
            raise ValueError("timeout_minutes and rendezvous_minutes must be positive")
        if min(self.log_every, self.watch_every, self.checkpoint_every, self.keep_checkpoints) < 1:
            raise ValueError("log_every, watch_every, checkpoint_every, keep_checkpoints must be at least 1")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All settings of ``sdpn train``, in a YAML file or as ``section.key=value``.

    ``objective`` selects one of the sections ``sdpn``, ``dino``, ``pseudo``, ``distill``, ``supervised`` and
    ``segmentation``; the others are ignored. ``encoder.kind`` is the name of an encoder or of one of its
    sizes (``sdpn models`` lists them), ``features.kind`` that of features; the other settings of the section
    are those of that kind.
    ``augmentation.preset`` gives the defaults of that section: ``default``, ``none`` or ``published``.
    """

    objective: Literal["sdpn", "dino", "pseudo", "distill", "supervised", "segmentation"] = "sdpn"
    features: FeatureChoice = field(default_factory=FeatureConfig)
    encoder: EncoderChoice = field(default_factory=EcapaConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    sdpn: SDPNConfig = field(default_factory=SDPNConfig)
    dino: DINOConfig = field(default_factory=DINOConfig)
    pseudo: PseudoConfig = field(default_factory=PseudoConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    supervised: SupervisedConfig = field(default_factory=SupervisedConfig)
    segmentation: LocalSpeakersConfig = field(default_factory=LocalSpeakersConfig)
    initial: InitialConfig = field(default_factory=InitialConfig)
    layers: LayersConfig = field(default_factory=LayersConfig)
    adapters: AdaptersConfig = field(default_factory=AdaptersConfig)
    crops: CropConfig = field(default_factory=CropConfig)
    augmentation: AugmentationChoice = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    guards: GuardConfig = field(default_factory=GuardConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        """Check constraints between sections."""
        if not self.crops.num_global and self.objective not in WITHOUT_TEACHER:
            raise ValueError(f"objective {self.objective} needs crops.num_global of at least 1")
        if self.training.augment == "device" and self.augmentation.codec_probability:
            raise ValueError("training.augment=device cannot apply codecs: use loader")
        if self.objective == "supervised" and not self.supervised.cosine and self.training.accumulate > 1:
            raise ValueError("training.accumulate needs supervised.head am or aam: use smaller batches")
        if self.layers != LayersConfig() and (self.objective != "supervised" or self.initial.model is None):
            raise ValueError("layers is of objective supervised and a given network: initial.model")
        if self.supervised.patience and not (self.supervised.folds or self.evaluation.choose):
            raise ValueError(
                "supervised.patience needs a validation set: set folds, or evaluation.data with choose"
            )
        if self.evaluation.choose and self.objective != "supervised":
            raise ValueError("evaluation.choose is of objective supervised")
        if self.objective == "segmentation" and self.training.accumulate > 1:
            raise ValueError("objective segmentation needs training.accumulate=1: use smaller batches")
        if self.objective == "segmentation" and self.training.shuffle_buffer:
            raise ValueError("training.shuffle_buffer reads utterances in order; segmentation simulates them")
        if self.objective == "segmentation" and self.initial.prototypes != "uniform":
            raise ValueError("objective segmentation takes its prototypes from the network: leave uniform")
        if self.objective == "segmentation" and self.training.explain_every:
            raise ValueError("training.explain_every explains encoders of speakers, not segmentation")

    @property
    def view_samples(self) -> int:
        """Samples that the student takes at once."""
        if self.objective == "segmentation":
            return self.segmentation.window_samples
        return self.crops.local_samples

    @property
    def item_samples(self) -> int:
        """Mean number of samples for each item of a batch."""
        if self.objective == "segmentation":
            return self.segmentation.window_samples
        return self.crops.mean_samples


def load_run_config(path: str | os.PathLike[str] | None, overrides: Sequence[str] = ()) -> RunConfig:
    """Load the configuration of a run; encoder and features default to those of the initial model.

    Args:
        path: YAML file, or None.
        overrides: ``section.key=value`` strings.

    Raises:
        InputError: as in `sdpn.config.load_config`, or the model to start from cannot be read.
    """
    config = load_config(RunConfig, path, overrides)
    if config.initial.model is None:
        return config
    if config.objective == "segmentation":
        network = load_segmentation(config.initial.model).network
        if not isinstance(network, SegmentationNet):
            raise InputError(
                "is a network of another kind; training continues one of objective=segmentation",
                path=config.initial.model,
            )
        given = RunConfig(segmentation=LocalSpeakersConfig(network=network.config))
        config = load_config(RunConfig, path, overrides, base=given)
        if config.segmentation.network != network.config:
            raise InputError(
                "has other sizes than segmentation.network", path=config.initial.model, hint="leave them out"
            )
        return config
    start = model_path(config.initial.model)
    if not start.exists():  # checked when it is loaded; a resumed run does not need it
        return config
    model = read_model(start)
    given = RunConfig(encoder=model.encoder_config, features=model.features)
    return load_config(RunConfig, path, overrides, base=given)
