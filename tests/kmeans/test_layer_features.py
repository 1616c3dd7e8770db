"""Outputs of a layer as rows: the layer's own, on the CPU, without padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sdpn.errors import InputError
from sdpn.kmeans.compatibility import accumulate_and_extract_features, fetch_kmeans_model, train
from sdpn.kmeans.layer_features import accumulate_features, layer_rows, numbered_layers


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
    [("conf", {}, r"has no layer 'conf' \(expected one of: 0 conv, 1 drop, 2 swap, 3 out, 4 unused\)"),
     ("", {}, "has no layer ''"), ("unused", {}, "did not use its layer 'unused'"),
     ("conv", {"feature_axis": 0}, "feature_axis is 0; expected 1 or 2")],
)  # fmt: skip
def test_layers_that_will_not_do(layer: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows(layer, **options)


class SelfSupervised(nn.Module):
    """Like SpeechBrain's wrappers: waveforms and relative lengths to the hidden states of all layers."""

    def __init__(self, *, stacked: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stacked = stacked
        self.front = nn.Linear(4, 6)
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))

    def forward(self, wavs_BS: Tensor, _lengths_B: Tensor | None = None) -> Tensor | list[Tensor]:
        states = [self.front(wavs_BS.unfold(1, 4, 4))]
        for layer in self.layers:
            states.append(torch.tanh(layer(states[-1])))
        return torch.stack(states) if self.stacked else states


class PaddedBatch:
    """What SpeechBrain's loaders give."""

    def __init__(self, wavs_BS: Tensor, lengths_B: Tensor) -> None:
        self.sig = wavs_BS, lengths_B


WAVS = torch.randn(3, 40, generator=torch.Generator().manual_seed(1))
SHARES = torch.tensor([1.0, 0.5, 1.0])


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("number", [0, 2, -1])
def test_what_users_of_speechbrain_pass(stacked: bool, number: int) -> None:
    network = SelfSupervised(stacked=stacked)
    states = network(WAVS)[number].detach()  # theirs: ssl_model(wavs, wav_lens)[n].flatten(end_dim=-2)
    expected = torch.cat([states[0], states[1, :5], states[2]]).numpy()
    for batch in (PaddedBatch(WAVS, SHARES), (WAVS, SHARES)):
        features: list[np.ndarray] = []
        accumulate_and_extract_features(batch, features, network, number, "cpu")
        np.testing.assert_allclose(np.stack(features), expected, atol=1e-6)
    features = []
    accumulate_and_extract_features(WAVS, features, network, number, "cpu")
    np.testing.assert_allclose(np.stack(features), states.flatten(end_dim=-2).numpy(), atol=1e-6)


def test_layers_by_name_and_layers_that_are_not_there() -> None:
    network = SelfSupervised(stacked=True)
    features: list[np.ndarray] = []
    accumulate_and_extract_features((WAVS, SHARES), features, network, "layers.1", "cpu")
    hidden = network(WAVS)[1].detach()
    np.testing.assert_allclose(
        np.stack(features)[:10], network.layers[1](hidden)[0].detach().numpy(), atol=1e-6
    )
    with pytest.raises(InputError, match=r"no layer 4 \(it returns 4 hidden states, 0 to 3\)"):
        accumulate_and_extract_features(WAVS, features, network, 4)
    with pytest.raises(InputError, match=r"0 front, 1 layers\.0, 2 layers\.1, 3 .*; or by name: layers"):
        accumulate_and_extract_features(WAVS, features, network, "layers.7")


@pytest.mark.parametrize("saved", [False, True])
def test_training_on_a_network_is_training_on_its_rows(saved: bool, tmp_path: Path) -> None:
    network = SelfSupervised(stacked=True)
    batches = [PaddedBatch(WAVS + shift, SHARES) for shift in range(8)]
    features: list[np.ndarray] = []
    for batch in batches:
        accumulate_and_extract_features(batch, features, network, 2, "cpu")
    there, here = fetch_kmeans_model(n_clusters=4), fetch_kmeans_model(n_clusters=4)
    fit = train(there, batches, network, 2, 50, "cpu", save_path=tmp_path / "state.npz" if saved else None)
    train(here, [np.stack(features)], kmeans_batch_size=50)
    assert set(fit.rows_per_pass) == {len(features)}
    np.testing.assert_allclose(there.cluster_centers_, here.cluster_centers_, atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == (["state.npz"] if saved else [])
    with pytest.raises(InputError, match="ssl_model and ssl_layer_num must be given together"):
        train(there, batches, network)


def test_layers_by_number() -> None:
    network = Network()
    assert numbered_layers(network) == ["conv", "drop", "swap", "out", "unused"]
    np.testing.assert_array_equal(rows(0), rows("conv"))  # type: ignore[arg-type]
    assert numbered_layers(nn.Sequential(nn.Sequential(nn.Linear(1, 1), nn.ReLU()))) == ["0.0", "0.1"]


def test_channels_and_bands_of_a_frame_are_one_row() -> None:
    network = nn.Sequential(nn.Unflatten(1, (1, 2)), nn.Conv2d(1, 3, 1))
    output_BCFT = network(BATCHES[0]).detach()
    (found,) = layer_rows(BATCHES[:1], network, "1")
    assert found.shape == (30, 6)
    np.testing.assert_array_equal(found[7], output_BCFT[0, :, :, 7].flatten().numpy())
