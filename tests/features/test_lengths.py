"""Padding: masks, mirrored ends, averages over what is real."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sdpn.features.lengths import hide, mask_of, mean_over_time, reflect, softmax_over_time, stride_mask


def test_equal_lengths_need_no_mask() -> None:
    hidden = torch.randn(2, 3, 7)
    assert mask_of(None, 7) is None and stride_mask(None, 2) is None
    assert hide(hidden, None) is hidden


@pytest.mark.parametrize("lengths", [[0, 3], [3, 8]])
def test_lengths_beyond_the_batch(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="between 1 and the 7 frames"):
        mask_of(torch.tensor(lengths), 7)


@pytest.mark.parametrize("length", range(1, 9))
def test_the_mask_after_a_stride_has_as_many_frames_as_the_convolution_gives(length: int) -> None:
    mask = stride_mask(mask_of(torch.tensor([length]), 8), 2)
    assert mask is not None
    alone = torch.nn.functional.conv1d(torch.ones(1, 1, length), torch.ones(1, 1, 3), stride=2, padding=1)
    assert int(mask.sum()) == alone.shape[-1] and mask.shape[-1] == 4


@pytest.mark.parametrize("amount", [1, 4, 11])
def test_each_utterance_is_mirrored_at_its_own_end(amount: int) -> None:
    """Against numpy, which mirrors as often as it takes."""
    hidden = torch.randn(4, 2, 9)
    lengths = torch.tensor([9, 5, 2, 1])
    extended = reflect(hidden, amount, mask_of(lengths, 9))
    assert extended.shape == (4, 2, 9 + 2 * amount)
    for row, length in enumerate(lengths.tolist()):
        expected = np.pad(hidden[row, :, :length].numpy(), ((0, 0), (amount, amount)), mode="reflect")
        np.testing.assert_array_equal(extended[row, :, : length + 2 * amount].numpy(), expected)


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (2, 3, 2, 5)])
@pytest.mark.parametrize("amount", [2, 6])
def test_equal_lengths_are_mirrored_in_any_number_of_axes(shape: tuple[int, ...], amount: int) -> None:
    hidden = torch.randn(shape)
    width = [(0, 0)] * (len(shape) - 1) + [(amount, amount)]
    np.testing.assert_array_equal(
        reflect(hidden, amount).numpy(), np.pad(hidden.numpy(), width, mode="reflect")
    )


def test_averages_and_softmax_leave_padding_out() -> None:
    hidden = torch.randn(2, 3, 6)
    mask = mask_of(torch.tensor([6, 2]), 6)
    torch.testing.assert_close(mean_over_time(hidden, mask)[1], hidden[1, :, :2].mean(-1))
    weights = softmax_over_time(hidden, mask)
    torch.testing.assert_close(weights[1, :, :2], hidden[1, :, :2].softmax(-1))
    assert not weights[1, :, 2:].any()
