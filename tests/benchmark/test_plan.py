"""Cells, and what conditions do to an utterance, measured on the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdpn.augmentation.conditions import Condition
from sdpn.benchmark.plan import Cell, Plan, cells, held_out_sounds, verification_condition
from sdpn.errors import InputError

WAVE = (0.1 * np.random.default_rng(1).standard_normal(16000)).astype(np.float32)


def apply(name: str, corpora: Path) -> np.ndarray:
    condition = verification_condition(name, corpora)
    assert condition is not None
    return condition(WAVE, np.random.default_rng(0))


def test_clean_is_as_recorded(corpora: Path) -> None:
    assert verification_condition("clean", corpora) is None


@pytest.mark.parametrize("snr_db", [5, 15])
def test_noise_has_its_level_and_is_held_out(snr_db: int, corpora: Path) -> None:
    noise = apply(f"noise {snr_db} dB", corpora) - WAVE
    assert 10 * np.log10(np.mean(WAVE**2) / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.01)
    matches = [np.corrcoef(noise, clip[:16000])[0, 1] for clip in held_out_sounds(corpora / "noise")]
    assert len(matches) == 2 and max(matches) > 0.999


def test_gains(corpora: Path) -> None:
    np.testing.assert_allclose(apply("+20 dB", corpora), 10 * WAVE, rtol=1e-6)
    fainter = apply("-20 dB", corpora)
    np.testing.assert_allclose(fainter, WAVE / 10, atol=0.5 / 32768 + 1e-9)
    assert not np.any(np.mod(fainter.astype(np.float64) * 32768, 1.0))  # on the grid of 16 bits


def test_the_telephone_band_has_no_low_frequencies(corpora: Path) -> None:
    spectrum = np.abs(np.fft.rfft(apply("telephone", corpora))) ** 2
    hz = np.fft.rfftfreq(16000, 1 / 16000)
    assert spectrum[hz < 150].mean() < 0.01 * spectrum[(hz > 500) & (hz < 3000)].mean()


def test_cells_of_a_plan() -> None:
    plan = Plan(seeds=(1, 2), conditions=("clean", "room"))
    found = cells(plan, manifest=True)
    by_part = {part: [cell for cell in found if cell.part == part] for part in ("eer", "der", "ami", "cost")}
    # 2 corpora x 2 conditions and the held-out speakers; 2 corpora x 3 conditions x 2 seeds and the manifest
    assert {part: len(of) for part, of in by_part.items()} == {"eer": 5, "der": 13, "ami": 1, "cost": 1}
    assert len({cell.name for cell in found}) == len(found)
    assert found[-1].part == "cost"
    assert Cell("der", "commonvoice", "room and noise", 1).name == "der.commonvoice.room-and-noise.1"
    assert len(cells(Plan(parts=("ami",)), manifest=True)) == 1


def test_quick_is_smaller() -> None:
    whole, quick = Plan(), Plan().quick()
    assert len(whole.seeds) == 5 and len(quick.seeds) == 1
    assert len(cells(quick, manifest=False)) < len(cells(whole, manifest=False)) / 2


def test_parts_that_are_none() -> None:
    with pytest.raises(InputError, match="there is no part 'wer'"):
        Plan(parts=("eer", "wer"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no part was chosen"):
        Plan(parts=())


def test_conditions_are_the_declared_ones(corpora: Path) -> None:
    made: list[Condition | None] = [verification_condition(name, corpora) for name in Plan().conditions]
    assert len(made) == 7 and made.count(None) == 1
