"""Maps: on a linear network all are known; on every encoder they have the form of the features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sdpn.errors import InputError
from sdpn.explain.methods import METHODS, fitting_methods, make_map
from sdpn.explain.network import LONGEST_S, ExplainedNetwork
from sdpn.explain.occlusion import patch_grid
from sdpn.explain.target import Target, own_voice
from sdpn.models.pooling import PoolingConfig
from sdpn.models.registry import SIZES, build_encoder
from sdpn.models.xvector import XVectorConfig
from tests.explain.conftest import network_of, voice

TINY = sorted(name for name in SIZES if name.endswith("-tiny"))


def _known(network: ExplainedNetwork) -> tuple[torch.Tensor, Target, torch.Tensor]:
    """Features of a linear network, a target, and the weight of every value of the features."""
    features_1FT = network.features(voice(0, 1.0, 0))
    direction_D = torch.randn(6, generator=torch.Generator().manual_seed(1))
    weight_F = direction_D @ network.encoder.embedding.weight @ network.encoder.frames.weight[..., 0]
    target = Target("a direction", lambda embedding_BD: embedding_BD @ direction_D)
    return features_1FT, target, (weight_F / features_1FT.shape[-1]).detach()


def test_gradients_on_a_linear_network_are_weight_times_input(linear: ExplainedNetwork) -> None:
    features_1FT, target, weight_F = _known(linear)
    expected_FT = weight_F[:, None] * features_1FT[0]
    for name in ("gradient", "integrated-gradients"):
        found_FT = METHODS[name].explain(linear, target, features_1FT)
        torch.testing.assert_close(found_FT, expected_FT, rtol=1e-3, atol=1e-5)


def test_class_activation_and_occlusion_on_a_linear_network_are_exact(linear: ExplainedNetwork) -> None:
    features_1FT, target, weight_F = _known(linear)
    expected_FT = weight_F[:, None] * features_1FT[0]
    cam_1T = METHODS["cam"].explain(linear, target, features_1FT)
    torch.testing.assert_close(cam_1T[0], expected_FT.sum(0), rtol=1e-3, atol=1e-5)
    found_FT = METHODS["occlusion"].explain(linear, target, features_1FT)
    patches_FT = patch_grid(*features_1FT.shape[1:], linear.hop_s)
    for patch in range(int(patches_FT.max()) + 1):
        inside = patches_FT == patch
        assert found_FT[inside].sum().item() == pytest.approx(expected_FT[inside].sum().item(), abs=1e-4)


def test_integrated_gradients_sum_to_the_change_of_the_score() -> None:
    torch.manual_seed(0)
    network = network_of(build_encoder(SIZES["ecapa-tiny"], 80))
    features_1FT = network.features(voice(1, 1.0, 0))
    target = own_voice(network.embed(features_1FT)[0].detach())
    found_FT = METHODS["integrated-gradients"].explain(network, target, features_1FT)
    with torch.no_grad():
        change = network.scorer(target)(features_1FT) - network.scorer(target)(0 * features_1FT)
    assert found_FT.sum().item() == pytest.approx(change.item(), rel=0.05, abs=0.02)


@pytest.mark.parametrize("name", TINY)
def test_every_encoder_has_maps(name: str) -> None:
    torch.manual_seed(0)
    network = network_of(build_encoder(SIZES[name], 80))
    wave_S = voice(0, 0.8, 0)
    features_1FT = network.features(wave_S)
    target = own_voice(network.embed(features_1FT)[0].detach())
    for method in ("cam", "grad-cam", "eigen-cam", "gradient"):
        found = make_map(network, target, wave_S, method)
        assert found.values_FT.shape in {(1, features_1FT.shape[2]), tuple(features_1FT.shape[1:])}
        assert np.isfinite(found.values_FT).all() and np.ptp(found.values_FT) > 0
    assert found.score == pytest.approx(1, abs=1e-4)


def test_relevance_of_rectified_layers_without_biases_is_gradient_times_input(
    spectral: ExplainedNetwork,
) -> None:
    """Every rule is then linear in what is active, and the sum is the score."""
    features_1FT = spectral.features(voice(0, 1.0, 0))
    target = own_voice(spectral.embed(features_1FT)[0].detach())
    found_FT = METHODS["relevance"].explain(spectral, target, features_1FT)
    expected_FT = METHODS["gradient"].explain(spectral, target, features_1FT)
    torch.testing.assert_close(found_FT, expected_FT, rtol=1e-3, atol=1e-5)
    assert found_FT.sum().item() == pytest.approx(1, rel=1e-3)


def test_relevance_needs_a_network_of_known_layers() -> None:
    torch.manual_seed(0)
    ecapa = network_of(build_encoder(SIZES["ecapa-tiny"], 80))
    assert "relevance" not in fitting_methods(ecapa)
    with pytest.raises(InputError, match=r"cannot be propagated through .*Sigmoid"):
        METHODS["relevance"].explain(ecapa, own_voice(torch.ones(128)), ecapa.features(voice(0, 1.0, 0)))
    config = XVectorConfig(
        channels=12, pooled_channels=16, embedding_dim=8, pooling=PoolingConfig(kind="mean")
    )
    xvector = network_of(build_encoder(config, 80))
    features_1FT = xvector.features(voice(0, 1.0, 0))
    target = own_voice(xvector.embed(features_1FT)[0].detach())
    found_FT = METHODS["relevance"].explain(xvector, target, features_1FT)
    assert found_FT.shape == features_1FT.shape[1:] and found_FT.abs().sum() > 0
    assert torch.isfinite(found_FT).all()


def test_long_recordings_are_explained_in_parts_and_silent_parts_left_out(linear: ExplainedNetwork) -> None:
    voiced_S = voice(0, LONGEST_S, 0)
    wave_S = np.concatenate([voiced_S, np.zeros_like(voiced_S), voiced_S])
    _, target, _ = _known(linear)
    found = make_map(linear, target, wave_S)
    alone = make_map(linear, target, voiced_S)
    assert found.values_FT.shape[1] == pytest.approx(3 * alone.values_FT.shape[1], abs=4)
    assert found.score == pytest.approx(alone.score, rel=1e-4)
    third = alone.values_FT.shape[1]
    assert not found.values_FT[:, third : 2 * third - 2].any()


def test_unknown_methods_are_listed(linear: ExplainedNetwork) -> None:
    with pytest.raises(InputError, match=r"no method 'saliency'.*cam, occlusion"):
        make_map(linear, own_voice(torch.ones(6)), voice(0, 1.0, 0), "saliency")


def test_silence_has_no_map(linear: ExplainedNetwork) -> None:
    with pytest.raises(InputError, match="is silent"):
        make_map(linear, own_voice(torch.ones(6)), np.zeros(16000, np.float32))
