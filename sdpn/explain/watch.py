"""What a network learns while it trains: maps of fixed utterances, and distributions by layer.

Nothing here changes the training: the network is copied, nothing random is drawn, gradients are only read.

Shapes: S samples, N utterances.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sdpn.explain.hearing import Hearing
from sdpn.explain.layers import watched
from sdpn.explain.masks import FEW_SHARES, MaskTest
from sdpn.explain.methods import DEFAULT_METHODS, make_map
from sdpn.explain.network import ExplainedNetwork, is_silent
from sdpn.explain.pictures import as_pixels, draw_maps
from sdpn.explain.target import own_voice
from sdpn.features.registry import AnyFeatureConfig
from sdpn.models.embedder import Embedder
from sdpn.models.encoder import Encoder
from sdpn.models.folder import ModelFolder
from sdpn.models.registry import AnyEncoderConfig
from sdpn.tracking.board import Board

#: Utterances whose maps are written, and seconds of each.
NUM_WATCHED = 3
_SECONDS = 6
#: Numbers of a distribution: more do not change a histogram, and cost time.
_MOST_NUMBERS = 20_000


class Watch:
    """Writes maps of the same utterances, and histograms by layer, whenever it is asked.

    Args:
        encoder_config: of the network.
        features: that it expects.
        waves: samples at 16 kHz of some utterances by name; silent ones are left out.
    """

    def __init__(
        self,
        encoder_config: AnyEncoderConfig,
        features: AnyFeatureConfig,
        waves: Sequence[tuple[str, np.ndarray]],
    ) -> None:
        self._encoder_config, self._features = encoder_config, features
        heard = [(name, wave_S[: _SECONDS * 16000]) for name, wave_S in waves]
        self._waves = [(name, wave_S) for name, wave_S in heard if not is_silent(wave_S)][:NUM_WATCHED]

    def write(self, board: Board, step: int, *, teacher: Encoder, student: nn.Module) -> dict[str, float]:
        """Write maps of the teacher, and weights and gradients of the student as they are.

        Returns:
            the numbers behind the maps, by tag.
        """
        encoder = copy.deepcopy(teacher).to("cpu").eval()
        for parameter in encoder.parameters():
            parameter.requires_grad_(False)
        network = ExplainedNetwork(
            Embedder(ModelFolder(encoder, self._encoder_config, self._features), device="cpu")
        )
        numbers: dict[str, float] = {}
        activations: dict[str, list[Tensor]] = {}
        for name, wave_S in self._waves:
            hearing = Hearing(name, wave_S, network)
            features_1FT = network.features(wave_S)
            with torch.no_grad(), watched(encoder, network.layers) as outputs:
                target = own_voice(network.embed(features_1FT)[0])
            for layer, output in outputs.items():
                activations.setdefault(layer, []).append(output.flatten())
            found = make_map(network, target, wave_S, DEFAULT_METHODS[0])
            masks = MaskTest(network, target, features_1FT, shares=FEW_SHARES)
            deletion, insertion, random = masks.curves(found.values_FT).areas
            positive_T = np.maximum(found.over_time_T, 0)
            speech_T = np.array(hearing.kinds) == "speech"
            on_speech = float(positive_T[speech_T].sum() / max(1e-12, positive_T.sum()))
            numbers |= {
                f"explain/{name}/on_speech": on_speech,
                f"explain/{name}/deletion": random - deletion,
                f"explain/{name}/insertion": insertion - random,
            }
            picture = draw_maps(hearing.log_mel_FT, [found], hearing.pitch, hearing.kinds, network.hop_s)
            board.picture(step, f"explain/{name}", as_pixels(picture))
        board.scalars(step, numbers)
        board.histograms(
            step,
            {f"layers/activations/{layer}": _some(torch.cat(each)) for layer, each in activations.items()}
            | _by_layer(student, network.layers),
        )
        return numbers


def _by_layer(student: nn.Module, layers: Sequence[str]) -> dict[str, Tensor]:
    """Weights and gradients of all parameters below every layer."""
    found: dict[str, Tensor] = {}
    for layer in layers:
        parameters = [one for one in student.get_submodule(layer).parameters() if one.requires_grad]
        if not parameters:
            continue
        found[f"layers/weights/{layer}"] = _some(torch.cat([one.detach().flatten() for one in parameters]))
        gradients = [one.grad.detach().flatten() for one in parameters if one.grad is not None]
        if gradients:
            found[f"layers/gradients/{layer}"] = _some(torch.cat(gradients))
    return found


def _some(numbers_N: Tensor) -> Tensor:
    """At most so many, evenly spaced; finite ones only, which histograms require."""
    some_N = numbers_N[:: -(-len(numbers_N) // _MOST_NUMBERS)].float().cpu()
    return some_N[torch.isfinite(some_N)]
