"""Layers: names, the axis of time, statistics."""

from __future__ import annotations

import pytest
import torch

from sdpn.errors import InputError
from sdpn.explain.layers import chosen_layers, main_layers, over_frames, statistics
from sdpn.models.registry import SIZES, build_encoder
from tests.explain.conftest import network_of
from tests.explain.test_methods import TINY


@pytest.mark.parametrize("name", TINY)
def test_every_encoder_has_layers_with_frames_and_one_without(name: str) -> None:
    network = network_of(build_encoder(SIZES[name], 80))
    axes = network.time_axes
    assert list(axes) == [layer for layer in network.layers if layer in axes]
    assert axes[network.last_frame_layer] is not None
    assert None in axes.values()  # what comes after pooling
    assert 3 <= len(axes) <= 15


def test_layers_that_do_not_exist_are_listed() -> None:
    encoder = build_encoder(SIZES["ecapa-tiny"], 80)
    assert chosen_layers(encoder, None) == main_layers(encoder)
    assert chosen_layers(encoder, ["0", "blocks.1"]) == ["stem.0", "blocks.1"]
    with pytest.raises(InputError, match=r"no layer 'blocks\.9'.*0 stem\.0, 1 stem\.1"):
        chosen_layers(encoder, ["blocks.9"])


def test_statistics_are_means_and_deviations_over_time() -> None:
    rows_BDT = torch.randn(2, 3, 50)
    expected = torch.cat([rows_BDT.mean(-1), rows_BDT.var(-1, correction=0).sqrt()], dim=1)
    torch.testing.assert_close(statistics(rows_BDT, 2), expected)
    torch.testing.assert_close(statistics(rows_BDT.transpose(1, 2), 1), expected)
    assert over_frames(torch.zeros(2, 4, 5, 7), 3).shape == (2, 20, 7)
    assert statistics(torch.zeros(2, 9), None).shape == (2, 9)
