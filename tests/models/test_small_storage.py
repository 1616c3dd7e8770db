"""Weights in fewer bytes come back as they were, or as near as the bits allow."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save
from torch import nn

from sdpn.models.pruning import prune_by_magnitude
from sdpn.models.small_storage import Bits, pack_weights, unpack_weights


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(40, 64, 5), nn.BatchNorm1d(64), nn.ReLU(), nn.Conv1d(64, 128, 3))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_32_bits_are_exact_and_the_size_is_that_of_the_formula(share: float) -> None:
    pruned = prune_by_magnitude(network(), share).network
    weights = pruned.state_dict()
    packed = pack_weights(weights, 32)
    again = unpack_weights(packed)
    assert again.keys() == weights.keys()
    for name, value in weights.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0)
    big = 64 * 40 * 5 + 128 * 64 * 3
    expected = 4 * big if not share else 4 * (1 - share) * big + big / 8
    assert len(save(packed)) == pytest.approx(expected, rel=0.05, abs=3000)


def test_16_and_8_bits_round() -> None:
    weights = prune_by_magnitude(network(), 0.5).network.state_dict()
    for bits, error in ((16, 2**-11), (8, 1 / 254)):
        again = unpack_weights(pack_weights(weights, bits))  # type: ignore[arg-type]
        value, near = weights["0.weight"].flatten(1), again["0.weight"].flatten(1)
        largest = value.abs().amax(1, keepdim=True) if bits == 8 else value.abs()
        assert ((value - near).abs() <= error * largest + 1e-9).all()
        assert (near[value == 0] == 0).all()
        torch.testing.assert_close(again["0.bias"], weights["0.bias"], rtol=0, atol=0)
    assert len(save(pack_weights(weights, 8))) < 0.2 * len(save(weights))


def test_the_smallest_weights_of_all_layers_are_pruned() -> None:
    before = network()
    result = prune_by_magnitude(before, 0.75)
    old = torch.cat([before[0].weight.flatten(), before[3].weight.flatten()]).detach()  # type: ignore[index]
    new = torch.cat([result.network[0].weight.flatten(), result.network[3].weight.flatten()]).detach()  # type: ignore[index]
    assert int((new == 0).sum()) == round(0.75 * len(old))
    assert old[new == 0].abs().max() <= old[new != 0].abs().min()
    torch.testing.assert_close(new[new != 0], old[new != 0], rtol=0, atol=0)
    assert (before[0].weight != 0).all() and not result.empty_layers  # type: ignore[index]
    assert set(result.network.state_dict()) == set(before.state_dict())
    assert prune_by_magnitude(before, 0.999).empty_layers == ["0"]  # 1 / sqrt(200) < 1 / sqrt(192)


@pytest.mark.parametrize("bits", [32, 8])
def test_damaged_parts_are_refused(bits: Bits) -> None:
    packed = pack_weights(prune_by_magnitude(network(), 0.9).network.state_dict(), bits)
    numbers = "0.weight#codes" if bits == 8 else "0.weight#values"
    faults = {
        numbers: packed[numbers][:-1],
        "0.weight#mask": packed["0.weight#mask"][:10],
        "0.weight#shape": torch.tensor([-1, 2]),
    }
    for name, value in faults.items():
        with pytest.raises(ValueError, match=r"0\.weight"):
            unpack_weights({**packed, name: value})
    for name in [name for name in packed if name.startswith("0.weight#") and "mask" not in name]:
        with pytest.raises(ValueError, match=r"0\.weight"):
            unpack_weights({key: value for key, value in packed.items() if key != name})
