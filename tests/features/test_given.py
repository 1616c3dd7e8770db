"""Features that come with the data become what the front end makes of the same samples."""

from __future__ import annotations

import torch

from sdpn.features.given import GivenFeatures
from sdpn.features.log_mel import FeatureConfig, LogMel


def test_log_mels_become_the_features_of_their_samples() -> None:
    front_end = LogMel(FeatureConfig(num_mels=40, normalisation="mean-variance"))
    wave = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0)) * 0.1
    given = GivenFeatures(front_end)
    torch.testing.assert_close(given(front_end.log_mel(wave)), front_end(wave))


def test_padding_does_not_count() -> None:
    given = GivenFeatures(LogMel(FeatureConfig(num_mels=40)))
    mel = torch.randn(2, 40, 30, generator=torch.Generator().manual_seed(0))
    together = given(mel, torch.tensor([30, 12]))
    torch.testing.assert_close(together[1, :, :12], given(mel[1:, :, :12])[0])
    assert not together[1, :, 12:].any()
