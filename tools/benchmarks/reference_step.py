"""A training step of the published implementation, made of its own modules.

They come from a checkout of 3D-Speaker, whose path the user gives; nothing of it is in this repository. Its
``train_one_epoch`` runs on CUDA only and ends with an epoch, so that the lines of a step are said again here,
in its order: teacher, student on the local crops, loss, ``.item()``, clipping by tensors, SGD, EMA. It starts
from mel energies, which its loader computes; ours from samples.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import torch

from sdpn.data.crops import CropBatch
from sdpn.errors import InputError
from sdpn.models.ecapa import EcapaConfig
from sdpn.training.config import RunConfig


class ReferenceStep:
    """The student, the teacher, the prototypes, and a step.

    Args:
        checkout: the top of a checkout of 3D-Speaker.
        config: sizes of the network, and of the crops.
        device: where it runs.
        precision: ``fp32``, as published, or ``bf16``.
        anomaly: whether autograd looks for NaN in every operation, as published.

    Raises:
        InputError: the checkout lacks the modules of SDPN.
    """

    def __init__(
        self, checkout: Path, config: RunConfig, device: torch.device, *, precision: str, anomaly: bool
    ) -> None:
        modules = reference_modules(checkout)
        encoder = config.encoder
        assert isinstance(encoder, EcapaConfig)
        self._utils = modules["utils"]
        self._device, self._precision, self._anomaly = device, precision, anomaly
        self._frames = round(1000 * config.crops.global_s / config.features.hop_ms)

        def branch() -> Any:
            backbone = modules["ecapa"].ECAPA_TDNN(
                input_size=config.features.num_mels,
                channels=[encoder.channels] * 4 + [3 * encoder.channels],
                lin_neurons=encoder.embedding_dim,
            )
            head = modules["head"].SDPNHead(in_dim=encoder.embedding_dim, use_bn=True)
            return modules["combiner"].Combiner(backbone, head).to(device).train()

        self._student, self._teacher = branch(), branch()
        self._teacher.load_state_dict(self._student.state_dict())
        self._teacher.requires_grad_(False)
        number, size = config.sdpn.num_prototypes, config.head.projection_dim
        bound = 1 / math.sqrt(size)
        self._prototypes = torch.empty(number, size, device=device).uniform_(-bound, bound).requires_grad_()
        self._labels = self._utils.one_hot(torch.arange(number), number).to(device)
        self._loss = modules["loss"].SDPNLoss().to(device)
        self._koleo = modules["koleo"].KoLeoLoss().to(device)
        self._optimizer = torch.optim.SGD(
            self._utils.get_params_groups(self._student), lr=0.01, momentum=0.9, weight_decay=5e-5
        )
        self.num_parameters = sum(tensor.numel() for tensor in self._student.backbone.parameters())

    def __call__(self, batch: CropBatch) -> None:
        """One step on so many utterances as the batch has."""
        generator = torch.Generator().manual_seed(0)
        shape = (3, batch.global_GBS.shape[1], self._student.backbone.n_mels, self._frames)
        data = torch.rand(shape, generator=generator).to(self._device)  # one global, two of two local crops
        with torch.autograd.set_detect_anomaly(self._anomaly, check_nan=self._anomaly):
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bf16"):
                _, targets = self._teacher(data[0])
                half = self._frames // 2
                local = torch.cat([part for pair in data[1:] for part in pair.split(half, dim=-1)])
                embeddings, anchors = self._student(local)
            terms = self._loss(
                anchor_views=anchors.float(),
                target_views=targets.float(),
                prototypes=self._prototypes,
                proto_labels=self._labels,
            )
            koleo = sum(self._koleo(student_output=part) for part in embeddings.float().chunk(4))
            loss = terms[0] + terms[1] + 0.1 * koleo
            if not math.isfinite(loss.item()):
                sys.exit("the reference's loss is not finite")
            self._optimizer.zero_grad()
            loss.backward()
            self._utils.clip_gradients(self._student, 3.0)
            self._optimizer.step()
        with torch.no_grad():
            for own, other in zip(self._student.parameters(), self._teacher.parameters(), strict=True):
                other.data.mul_(0.996).add_((1 - 0.996) * own.detach().data)
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        for value in (loss, koleo, terms[0]):  # its log
            value.item()


def reference_modules(checkout: Path) -> dict[str, Any]:
    """Import the modules of SDPN of a checkout.

    Raises:
        InputError: one is missing.
    """
    from importlib import import_module

    sys.path.insert(0, str(checkout.resolve()))
    names = {
        "ecapa": "models.rdino.ECAPA_TDNN",
        "head": "models.sdpn.SDPN_Head",
        "combiner": "models.sdpn.combiner",
        "loss": "loss.sdpn_loss",
        "koleo": "loss.keleo_loss",
        "utils": "utils.utils_rdino",
    }
    try:
        return {key: import_module(f"speakerlab.{name}") for key, name in names.items()}
    except ImportError as error:
        raise InputError(
            f"is no checkout of 3D-Speaker with SDPN ({error})",
            path=checkout,
            hint="git clone https://github.com/modelscope/3D-Speaker",
        ) from error
    finally:
        sys.path.pop(0)
