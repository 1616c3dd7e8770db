"""Which layers of a given network are trained, when, and how fast: frozen, unfrozen step by step, adapters.

Sources: gradual unfreezing and layer-wise learning rates: Howard and Ruder, arXiv 1801.06146, sections 3.2
and 3.3; the pull toward the start: Xuhong et al., L2-SP, 1802.01483.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from sdpn.distill.base import Objective, SelfDistillation, batch_norms
from sdpn.models.adapters import AdaptersConfig, adapter_weights
from sdpn.models.depth import depths

#: Samples of the silence that finds the order of the layers: 0.5 s.
_EXAMPLE_SAMPLES = 8000


@dataclass(frozen=True, kw_only=True)
class LayersConfig:
    """What is trained of the network of ``initial.model``.

    Attributes:
        trained: ``all`` layers of the encoder; ``head``: the classifier alone, on a frozen encoder;
            ``gradual``: the encoder from its last part down, one more every ``unfreeze_every`` steps;
            ``adapters``: small branches beside its layers (section ``adapters``).
        head_steps: steps in which the classifier is trained alone, before the rest.
        unfreeze_every: see ``gradual``.
        decay: learning rate of each part of the encoder relative to the part above it; the last one has that
            of the optimizer.
        head_lr: learning rate of the classifier relative to that of the optimizer.
        toward_start: pulls the trained layers of the encoder toward their start, as weight decay does toward
            zero (L2-SP).
        blend: exported are the weights start + blend · (trained − start) (WiSE-FT, arXiv 2109.01903).
        batch_norm: running averages of the encoder's batch norms are ``trained`` with it, or ``kept``:
            training normalises with them, too.
    """

    trained: Literal["all", "head", "gradual", "adapters"] = "all"
    head_steps: int = 0
    unfreeze_every: int = 50
    decay: float = 1.0
    head_lr: float = 1.0
    toward_start: float = 0.0
    blend: float = 1.0
    batch_norm: Literal["trained", "kept"] = "trained"

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.head_steps < 0 or self.toward_start < 0:
            raise ValueError("head_steps and toward_start must not be negative")
        if self.unfreeze_every < 1:
            raise ValueError("unfreeze_every must be at least 1")
        if not 0 < self.decay <= 1 or not 0 < self.blend <= 1:
            raise ValueError("decay and blend must be above 0 and at most 1")
        if self.head_lr <= 0:
            raise ValueError("head_lr must be positive")
        if self.trained == "adapters" and (self.blend < 1 or self.toward_start):
            raise ValueError(
                "blend and toward_start are of the layers themselves, which adapters leave alone"
            )


class LayerPlan:
    """Freezes and unfreezes the student's encoder by the step, and knows the learning rate of each layer.

    Args:
        config: settings; with those of `LayersConfig` every layer is trained at the same rate from the start.
        network: the network, with its adapters attached.
        adapters: of the network, where these are what is trained.
    """

    def __init__(self, config: LayersConfig, network: Objective, adapters: AdaptersConfig) -> None:
        self._config = config
        self._adapters = adapters
        self._small: set[str] = set()
        self._network = network
        self._now: int | None = None
        self._depths: dict[str, int] = {}
        if config != LayersConfig():
            assert isinstance(network, SelfDistillation)
            encoder = network.student.encoder
            self._small = set(adapter_weights(encoder, adapters))
            self._depths = depths(encoder, network.example(_EXAMPLE_SAMPLES))
            for name, tensor in encoder.named_parameters():
                tensor.requires_grad_(self._is_ever_trained(name))

    @property
    def num_trained(self) -> int:
        """Numbers of the encoder that are trained at some time."""
        assert isinstance(self._network, SelfDistillation)
        named = self._network.student.encoder.named_parameters()
        return sum(tensor.numel() for name, tensor in named if self._is_ever_trained(name))

    def factor(self, name: str) -> float:
        """Learning rate of a parameter, by its name in the network, relative to that of the optimizer."""
        inner = name.removeprefix(_ENCODER)
        if not self._depths:
            return 1.0
        if inner == name:
            return self._config.head_lr
        return self._config.decay ** (max(self._depths.values()) - self._depths[inner])

    def start(self, step: int) -> bool:
        """Freeze what is not trained at this step; returns whether that has changed since the step before."""
        if not self._depths:
            return False
        above = self._first_depth(step)
        if above == self._now:
            return False
        self._now = above
        assert isinstance(self._network, SelfDistillation)
        encoder = self._network.student.encoder
        trained = {
            name: self._is_ever_trained(name) and self._depths[name] >= above
            for name, _ in encoder.named_parameters()
        }
        for name, tensor in encoder.named_parameters():
            tensor.requires_grad_(trained[name])
        # a frozen layer computes what it does in use: no dropout, and the running averages of batch norm
        for name, module in encoder.named_modules():
            own = [f"{name}.{inner}" if name else inner for inner, _ in module.named_parameters()]
            module.training = any(trained[one] for one in own) if own else above <= max(self._depths.values())
        beside = self._config.trained == "adapters" and not self._adapters.norms
        if self._config.batch_norm == "kept" or beside:
            for norm in batch_norms(encoder):
                norm.eval()
        return True

    def _first_depth(self, step: int) -> int:
        """The lowest part that is trained at a step."""
        config, parts = self._config, max(self._depths.values()) + 1
        if config.trained == "head" or step < config.head_steps:
            return parts
        if config.trained != "gradual":
            return 0
        return max(0, parts - 1 - (step - config.head_steps) // config.unfreeze_every)

    def _is_ever_trained(self, name: str) -> bool:
        if self._config.trained == "head":
            return False
        return self._config.trained != "adapters" or name in self._small


class Anchor:
    """Pulls the trained layers of the student's encoder toward their start (L2-SP).

    Args:
        config: its strength.
        network: the network.
    """

    def __init__(self, config: LayersConfig, network: nn.Module) -> None:
        self._strength = config.toward_start
        self._tensors = (
            [tensor for name, tensor in network.named_parameters() if name.startswith(_ENCODER)]
            if config.toward_start
            else []
        )
        self._start: list[Tensor] = []

    def pull(self, lr: float) -> None:
        """Move what was trained by ``lr`` · strength of its way back, after a step of the optimizer."""
        if not self._tensors:
            return
        for tensor, start in zip(self._tensors, self.start(), strict=True):
            if tensor.grad is not None:
                tensor.detach().lerp_(start, min(1.0, lr * self._strength))

    def start(self) -> list[Tensor]:
        """The start, which is where the network is when this is called first."""
        if not self._start:
            self._start = [tensor.detach().clone() for tensor in self._tensors]
        return self._start

    def restore(self, start: list[Tensor]) -> None:
        """Take the start from a checkpoint."""
        self._start = [one.to(own.device) for one, own in zip(start, self._tensors, strict=True)]


_ENCODER = "student.encoder."
