"""Turn statistics by hand on a few turns, and VoxConverse's as they are shipped."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.io.rttm import Turn
from sdpn.simulation.turn_statistics import (
    TurnStatistics,
    _concentration,
    estimate,
    observe,
    quantile,
    read_statistics,
    voxconverse,
    write_statistics,
)

#: onset, end, speaker. A: 0-4 and 4.2-6 are one turn, since 0.2 s end no turn.
MEETING = [
    (0.0, 4.0, "A"),
    (2.0, 2.5, "B"),  # an interjection
    (4.2, 6.0, "A"),
    (6.5, 8.0, "A"),  # after a pause of 0.5 s
    (9.0, 12.0, "B"),  # after a gap of 1.0 s
    (11.0, 15.0, "C"),  # in an overlap of 1.0 s
]


def turns(spans: list[tuple[float, float, str]], recording: str = "rec") -> list[Turn]:
    return [Turn(recording, start, end - start, speaker) for start, end, speaker in spans]


def test_every_kind_by_hand() -> None:
    seen = observe(turns(MEETING))
    assert seen.turn_s == pytest.approx((6.0, 1.5, 3.0, 4.0))
    assert seen.interjection_s == pytest.approx((0.5,))
    assert seen.pause_s == pytest.approx((0.5,))
    assert seen.gap_s == pytest.approx((1.0,))
    assert seen.overlap_s == pytest.approx((1.0,))
    assert seen.span_s == pytest.approx(15.0)
    assert seen.speech_s == pytest.approx(6.0 + 1.5 + 6.0)
    assert seen.overlapped_s == pytest.approx(0.5 + 1.0)
    # inside of the turns: 0-6, 6.5-8, 9-11 (then C), 12-15 (B before), each less 0.25 s at both ends
    assert seen.host_s == pytest.approx(5.5 + 1.0 + 1.5 + 2.5)


def test_the_order_of_the_turns_does_not_matter() -> None:
    assert observe(turns(MEETING[::-1])) == observe(turns(MEETING))


def test_recordings_add_up() -> None:
    both = observe(turns(MEETING)) + observe(turns([(0.0, 1.0, "X"), (3.0, 5.0, "Y")]))
    assert both.turn_s == pytest.approx((6.0, 1.5, 3.0, 4.0, 1.0, 2.0))
    assert both.gap_s == pytest.approx((1.0, 2.0))
    assert both.span_s == pytest.approx(20.0)


def test_estimate_by_hand() -> None:
    statistics = estimate({"rec": turns(MEETING), "alone": turns([(0.0, 9.0, "A")])}, "a meeting")
    assert statistics.num_recordings == 1  # there are no turns with one speaker
    assert statistics.num_turns == 5
    assert statistics.overlap_share == pytest.approx(1.5 / 13.5, abs=1e-4)
    assert statistics.silence_share == pytest.approx(1.5 / 15.0, abs=1e-4)
    assert statistics.changes_per_min == pytest.approx(8.0)
    assert statistics.interjections_per_min == pytest.approx(4.0)
    assert quantile(statistics.turn_s, 0.0) == 1.5
    assert quantile(statistics.turn_s, 0.5) == pytest.approx(3.5)
    assert quantile(statistics.turn_s, 1.0) == 6.0
    (profile,) = statistics.profiles
    assert profile.num_speakers == 3
    assert profile.mean_turn_s == pytest.approx(14.5 / 4)
    assert profile.overlap_probability == 0.5
    assert profile.interjections_per_min == pytest.approx(60 / 10.5, abs=1e-4)
    # A, A, B, C: shares 1/2, 1/4, 1/4; a floor drawn anew would change in 5/8 of the 3 transitions, and 2 did
    assert profile.change_rate == pytest.approx(2 / (3 * 5 / 8), abs=1e-4)


def test_short_recordings_lean_on_the_others() -> None:
    """One event of the average kind counts beside a recording's own (one overlap among 2 + 4 changes)."""
    calm = turns([(10.0 * n, 10.0 * n + 9.0, "AB"[n % 2]) for n in range(5)], "calm")
    first, second = estimate({"rec": turns(MEETING), "calm": calm}, "two").profiles
    assert first.overlap_probability == pytest.approx((1 + 1 / 6) / (2 + 1), abs=1e-4)
    assert second.overlap_probability == pytest.approx((0 + 1 / 6) / (4 + 1), abs=1e-4)
    assert second.mean_turn_s == pytest.approx((45 + 59.5 / 9) / (5 + 1), abs=1e-3)


def test_concentration_is_recovered() -> None:
    rng = np.random.default_rng(0)
    floors = []
    for _ in range(400):
        shares = rng.dirichlet(np.full(5, 2.0))
        spoken = rng.choice(5, size=200, p=shares)
        floors.append([Turn("rec", float(at), 1.0, str(speaker)) for at, speaker in enumerate(spoken)])
    assert _concentration(floors) == pytest.approx(2.0, rel=0.1)


def test_saved_statistics_read_back(tmp_path: Path) -> None:
    statistics = estimate({"rec": turns(MEETING)}, "a meeting")
    write_statistics(tmp_path / "meeting.json", statistics)
    assert read_statistics(tmp_path / "meeting.json") == statistics


def test_rttms_are_read_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name, folder in (("one", tmp_path), ("two", tmp_path / "deep")):
        lines = [f"SPEAKER {name} 1 {a} {b - a} <NA> <NA> {who} <NA> <NA>\n" for a, b, who in MEETING]
        (folder / f"{name}.rttm").write_text("".join(lines))
    assert read_statistics(tmp_path).num_recordings == 2
    assert read_statistics(tmp_path / "one.rttm").num_recordings == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "sdpn.score/1"}, "its schema is not"),
        ({"turn_s": []}, "are empty"),
        ({"gap_s": [1.0, 0.5]}, "gap_s does not contain ascending quantiles"),
        ({"gap_s": [-1.0]}, "gap_s does not contain ascending quantiles"),
        ({"concentration": 0.0}, "concentration"),
        ({"profiles": []}, "are empty"),
        ({"profiles": 3}, "is not a valid turn statistics file"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_files_that_are_no_statistics(change: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    document = {
        "schema": "sdpn.turn_statistics/1",
        **asdict(estimate({"rec": turns(MEETING)}, "x")),
        **change,
    }
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=message) as caught:
        read_statistics(path)
    assert caught.value.path == str(path)


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="contains no RTTM files"):
        read_statistics(tmp_path)
    (tmp_path / "alone.rttm").write_text("SPEAKER alone 1 0 1 <NA> <NA> A <NA> <NA>\n")
    with pytest.raises(InputError, match="no recording has turns of two speakers"):
        read_statistics(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_statistics(tmp_path / "missing.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match="is not a valid turn statistics file"):
        read_statistics(tmp_path / "broken.json")


def test_voxconverse_is_shipped_as_it_is_measured(shared_data: Path) -> None:
    measured: TurnStatistics = read_statistics(shared_data / "voxconverse_rttm")
    assert replace(measured, source=voxconverse().source) == voxconverse()
