"""Outputs of a layer as rows: the layer's own, on the CPU, without padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sdpn.errors import InputError
from sdpn.extraction.layer_features import accumulate_features, layer_rows
from sdpn.kmeans.compatibility import fetch_kmeans_model, train


class Network(nn.Module):
    """(B, 2, T) -> (B, 4), by way of (B, 3, T)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(2, 3, 1)
        self.drop = nn.Dropout(0.5)
        self.swap = nn.GRU(3, 3, batch_first=True)
        self.out = nn.Linear(3, 4)
        self.unused = nn.Linear(3, 4)

    def forward(self, x_BFT: Tensor) -> Tensor:
        hidden_BTF, _ = self.swap(self.drop(self.conv(x_BFT)).transpose(1, 2))
        return self.out(hidden_BTF.mean(1))


BATCHES = [torch.randn(3, 2, 10, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]


def rows(layer: str, batches: list = BATCHES, **options: object) -> np.ndarray:  # type: ignore[type-arg]
    return np.concatenate(list(layer_rows(batches, Network(), layer, **options)))  # type: ignore[arg-type]


def test_frames_of_a_convolution() -> None:
    expected = torch.cat([Network().conv(batch) for batch in BATCHES]).transpose(1, 2).reshape(-1, 3)
    found = rows("conv")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected.detach().numpy())
    np.testing.assert_array_equal(rows("drop"), found)  # evaluation mode


def test_frames_of_a_layer_with_features_last_and_a_tuple() -> None:
    network = Network().eval()
    expected = torch.cat([network.swap(network.conv(batch).transpose(1, 2))[0] for batch in BATCHES])
    np.testing.assert_allclose(
        rows("swap", feature_axis=2), expected.reshape(-1, 3).detach().numpy(), atol=1e-6
    )


def test_one_row_for_each_item_where_there_is_no_time() -> None:
    assert rows("out").shape == (12, 4)


def test_padding_is_left_out() -> None:
    shares = torch.tensor([1.0, 0.5, 0.04])
    found = rows("conv", [(BATCHES[0], shares)])
    whole = Network().conv(BATCHES[0]).detach().numpy()
    expected = np.concatenate([whole[0].T, whole[1].T[:5], whole[2].T[:1]])
    np.testing.assert_array_equal(found, expected)


def test_the_network_is_as_it_was() -> None:
    network = Network().train()
    for _ in layer_rows(BATCHES, network, "conv"):
        assert network.training
    assert not network.conv._forward_hooks


def test_accumulated_for_k_means(tmp_path: Path) -> None:
    files = accumulate_features(BATCHES, Network(), "conv", tmp_path / "rows", rows_per_chunk=50)
    assert len(files) == 3
    np.testing.assert_array_equal(np.concatenate([np.load(file) for file in files]), rows("conv"))
    fit = train(fetch_kmeans_model(n_clusters=4), files)
    assert set(fit.rows_per_pass) == {120}


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [("conf", {}, r"has no layer 'conf' \(expected one of: conv, drop, swap, out, unused\)"),
     ("", {}, "has no layer ''"), ("unused", {}, "did not use its layer 'unused'"),
     ("conv", {"feature_axis": 0}, "feature_axis is 0; expected 1 or 2")],
)  # fmt: skip
def test_layers_that_will_not_do(layer: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows(layer, **options)
