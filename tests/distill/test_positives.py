"""Positives from other recordings: who is drawn, from when on, and through a state dict."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sdpn.data.crops import CropBatch
from sdpn.distill.positives import PositiveMemory
from sdpn.distill.sdpn import SDPN, SDPNConfig


def _memory(**changes: object) -> PositiveMemory:
    settings = {"neighbours": 1, "share": 1.0, "first_step": 0, **changes}
    return PositiveMemory(6, 2, **settings)  # type: ignore[arg-type]


def _at(*degrees: float) -> Tensor:
    angles = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_the_nearest_other_utterance_is_drawn() -> None:
    memory = _memory()
    memory.push(_at(0, 40, 90, 180), torch.arange(4))
    # utterance 0 is nearest to itself (not taken), then to 40 degrees; a new utterance may take any
    drawn = memory.positives(_at(5, 100), torch.tensor([0, 9]))
    torch.testing.assert_close(drawn, _at(40, 90))


def test_no_positive_before_its_step_or_from_an_empty_memory() -> None:
    own = _at(10, 20)
    assert _memory().positives(own, torch.tensor([0, 1])).equal(own)
    late = _memory(first_step=2)
    late.push(_at(0, 90), torch.tensor([5, 6]))
    assert late.positives(own, torch.tensor([0, 1])).equal(own)
    late.push(_at(0, 90), torch.tensor([5, 6]))
    assert not late.positives(own, torch.tensor([0, 1])).equal(own)


def test_an_utterance_alone_in_the_memory_keeps_its_own() -> None:
    memory = _memory(neighbours=3)
    memory.push(_at(0, 1, 2), torch.tensor([4, 4, 4]))
    own = _at(3)
    assert memory.positives(own, torch.tensor([4])).equal(own)


def test_draws_are_among_the_neighbours_and_of_the_share() -> None:
    memory = _memory(neighbours=2, share=0.25)
    memory.push(_at(0, 10, 90, 100, 110), torch.arange(5))
    own, drawn = _at(*[5.0] * 4000), None
    drawn = memory.positives(own, torch.full((4000,), 9))
    taken = (drawn != own).any(1)
    assert 0.2 < taken.float().mean() < 0.3
    counts = [(drawn[taken] - one).abs().amax(1).lt(1e-6).float().mean() for one in _at(0, 10)]
    assert sum(counts) == pytest.approx(1) and 0.4 < counts[0] < 0.6


def test_the_oldest_are_overwritten() -> None:
    memory = _memory()
    for start in (0, 4):
        memory.push(_at(*range(start, start + 4)), torch.arange(start, start + 4))
    assert sorted(memory.utterance_M.tolist()) == [2, 3, 4, 5, 6, 7]
    memory.push(_at(*range(9)), torch.arange(10, 19))
    assert sorted(memory.utterance_M.tolist()) == [13, 14, 15, 16, 17, 18]


def test_a_restored_memory_goes_on_like_the_saved_one() -> None:
    memory, other = _memory(neighbours=3, share=0.5), _memory(neighbours=3, share=0.5)
    memory.push(torch.randn(5, 2), torch.arange(5))
    other.load_state_dict(memory.state_dict())
    for _ in range(3):
        rows, utterances = torch.randn(4, 2), torch.randint(9, (4,))
        assert memory.positives(rows, utterances).equal(other.positives(rows, utterances))
        memory.push(rows, utterances)
        other.push(rows, utterances)


def test_sdpn_compares_the_student_with_the_positive() -> None:
    """With a share of 1 the cross-entropy is that of a network whose teacher projected the positive."""
    torch.manual_seed(0)
    config = SDPNConfig(positive_memory=4, positive_share=1.0, positive_step=0, sinkhorn_iterations=0)
    network = SDPN(nn.Linear(3, 2, bias=False), None, 5, config=config).double().eval()
    plain = (
        SDPN(nn.Linear(3, 2, bias=False), None, 5, config=SDPNConfig(sinkhorn_iterations=0)).double().eval()
    )
    plain.load_state_dict(network.state_dict(), strict=False)
    own, other = torch.randn(1, 2, 3).double(), torch.randn(1, 2, 3).double()
    local = torch.randn(2, 2, 3).double()
    remembered = CropBatch(other, local, torch.tensor([7, 8]))
    network.after_step(1.0, network(remembered))
    found = network(CropBatch(own, local, torch.tensor([0, 1])))
    nearest = network.memory.positives(network.teacher(own[0])[1], torch.tensor([0, 1]))  # type: ignore[union-attr]
    choice = [int((network.teacher(other[0])[1] - row).abs().sum(1).argmin()) for row in nearest]
    expected = plain(CropBatch(other[:, choice], local, torch.tensor([0, 1])))
    torch.testing.assert_close(found.terms["ce"], expected.terms["ce"])
    assert not torch.isclose(
        found.terms["ce"], plain(CropBatch(own, local, torch.tensor([0, 1]))).terms["ce"]
    )


@pytest.mark.parametrize(
    "wrong",
    [{"positive_memory": -1}, {"positive_share": 0.0}, {"positive_memory": 2, "positive_neighbours": 3}],
)
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive_"):
        SDPNConfig(**wrong)  # type: ignore[arg-type]
