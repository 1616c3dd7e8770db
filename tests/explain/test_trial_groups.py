"""Error rates of trials by duration, noise, language and the like."""

from __future__ import annotations

import time

import numpy as np
import pytest

from sdpn.explain.trial_groups import DIFFERENT, UNKNOWN, Grouping, group_trials, rates_of_groups


def test_trials_are_grouped_by_the_worse_side_and_by_a_shared_label() -> None:
    first, second = np.array([0, 0, 1, 2]), np.array([1, 2, 3, 3])
    facts = {
        "duration_s": np.array([1.0, 2.0, 3.0, 4.0]),
        "pitch_hz": np.array([100.0, 200.0, 100.0, np.nan]),
    }
    labels = {"speaker": np.array(["a", "a", "b", "b"]), "language": np.array(["fi", "fi", "de", ""])}
    found = group_trials(first, second, facts, labels)
    assert set(found) == {"shorter duration, s", "difference of pitch, semitones", "language"}
    durations = found["shorter duration, s"]  # of the four trials 1, 1, 2 and 3: quartiles 1, 1.5 and 2.25
    shown = [durations.names[at] for at in durations.group_N]
    assert shown == ["1 to 1.5", "1 to 1.5", "1.5 to 2.2", "2.2 or more"]
    pitches = [
        found["difference of pitch, semitones"].names[at]
        for at in found["difference of pitch, semitones"].group_N
    ]
    assert pitches[2:] == [UNKNOWN, UNKNOWN] and pitches[0] != pitches[1]  # an octave, and nothing
    assert [found["language"].names[at] for at in found["language"].group_N] == [
        "fi",
        DIFFERENT,
        UNKNOWN,
        UNKNOWN,
    ]


def test_rates_are_those_that_are_counted() -> None:
    is_target = np.array([True] * 20 + [False] * 40)
    scores = np.concatenate([np.linspace(0.05, 1.0, 20), np.linspace(-1.0, 0.95, 40)])
    group_N = np.arange(60) % 2
    found = rates_of_groups(
        {"parity": Grouping(group_N, ["even", "odd"])}, scores, is_target, 0.5, speakers=None
    )
    for one, parity in zip(found, (0, 1), strict=True):
        own = group_N == parity
        assert (one.num_target, one.num_nontarget, one.num_speakers) == (10, 20, None)
        assert one.miss == pytest.approx((scores[own & is_target] < 0.5).mean())
        assert one.false_alarm == pytest.approx((scores[own & ~is_target] >= 0.5).mean())
        assert one.miss_interval is not None and one.miss_interval.low <= one.miss <= one.miss_interval.high


def test_an_interval_over_speakers_knows_that_their_trials_are_alike() -> None:
    rng = np.random.default_rng(0)
    speaker_N = np.repeat(np.arange(40), 50)
    is_target = np.ones(2000, dtype=bool)
    scores = np.where(speaker_N < 10, -1.0, 1.0)  # ten of forty are always missed
    is_target = np.concatenate([is_target, np.zeros(2000, dtype=bool)])
    scores = np.concatenate([scores, rng.normal(-1.0, 0.1, 2000)])
    others = (np.concatenate([speaker_N, speaker_N]), np.concatenate([speaker_N, (speaker_N + 1) % 40]))
    grouping = {"all": Grouping(np.zeros(4000, dtype=np.int64), ["all"])}
    (by_speaker,) = rates_of_groups(grouping, scores, is_target, 0.0, speakers=others)
    (by_trial,) = rates_of_groups(grouping, scores, is_target, 0.0, speakers=None)
    assert by_speaker.miss == by_trial.miss == 0.25 and by_speaker.num_speakers == 40
    assert by_speaker.miss_interval is not None and by_trial.miss_interval is not None
    width = by_speaker.miss_interval.high - by_speaker.miss_interval.low
    # of a share of 40 draws: 2 · 1.96 · sqrt(0.25 · 0.75 / 40) = 0.268; of 2000 draws 0.038
    assert width == pytest.approx(0.268, rel=0.15)
    assert by_trial.miss_interval.high - by_trial.miss_interval.low == pytest.approx(0.038, rel=0.25)


def test_few_speakers_have_no_interval_and_few_trials_no_rate() -> None:
    is_target = np.array([True] * 30 + [False] * 5)
    speakers = (np.array([0] * 15 + [1] * 15 + [0] * 5), np.array([0] * 15 + [1] * 15 + [1] * 5))
    (found,) = rates_of_groups(
        {"all": Grouping(np.zeros(35, dtype=np.int64), ["all"])},
        np.linspace(0, 1, 35),
        is_target,
        0.5,
        speakers=speakers,
    )
    assert found.miss is not None and found.miss_interval is None and found.num_speakers == 2
    assert found.false_alarm is None and found.eer is None


def test_a_hundred_thousand_trials_take_seconds() -> None:
    rng = np.random.default_rng(0)
    number = 100_000
    first, second = rng.integers(0, 5000, number), rng.integers(0, 5000, number)
    facts = {"duration_s": rng.uniform(1, 10, 5000), "snr_db": rng.uniform(0, 40, 5000)}
    is_target = rng.random(number) < 0.1
    start = time.process_time()
    found = rates_of_groups(
        group_trials(first, second, facts, {}),
        rng.normal(size=number),
        is_target,
        0.0,
        speakers=(first % 400, np.where(is_target, first % 400, (first + 1) % 400)),
        resamples=100,
    )
    assert len(found) == 8 and time.process_time() - start < 5
