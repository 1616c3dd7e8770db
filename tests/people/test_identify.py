"""Open-set identification on embeddings drawn from the model that a PLDA assumes."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.people.identify import KnownPeople, refuse_other_model
from sdpn.people.voiceprint import EnrolledRecording, RecordingConditions, Voiceprint
from sdpn.verification.back_end import BackEnd
from sdpn.verification.learn_back_end import learn_back_end

D = 24
WITHIN = 0.4


def speakers(rng: np.random.Generator, number: int, each: int, shared: float = 0.0) -> np.ndarray:
    """Embeddings (number, each, D); ``shared`` moves all of them the same way, like another microphone."""
    centres = rng.standard_normal((number, 1, D)) + shared
    return 3.0 + centres + WITHIN * rng.standard_normal((number, each, D))


def enrolled(rows_PRD: np.ndarray) -> list[Voiceprint]:
    conditions = RecordingConditions(snr_db=None, bandwidth_hz=8000.0)
    return [
        Voiceprint(
            name=f"p{index:02d}",
            model="0123",
            made_with={"model": "small"},
            recordings=[
                EnrolledRecording(
                    audio="",
                    sha256=str(number),
                    channel=None,
                    speech_s=3.0,
                    conditions=conditions,
                    embedding_D=row_D.astype(np.float32),
                )
                for number, row_D in enumerate(rows_RD)
            ],
        )
        for index, rows_RD in enumerate(rows_PRD)
    ]


@pytest.fixture(scope="module")
def back_end() -> BackEnd:
    rng = np.random.default_rng(0)
    parts_NPD = speakers(rng, 1500, 2)
    return learn_back_end(parts_NPD.mean(axis=1), parts_NPD)


@pytest.mark.parametrize("number", [1, 10, 40])
@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_the_rate_of_strangers_who_get_a_name(number: int, rate: float, back_end: BackEnd) -> None:
    """Is a limit, however many people there are; the cohort and the strangers are alike here."""
    rng = np.random.default_rng(1)
    known = KnownPeople(enrolled(speakers(rng, number, 2)), back_end, false_alarms=rate)
    strangers = speakers(rng, 4000, 1)[:, 0]
    found = known.identify({str(index): row for index, row in enumerate(strangers)})
    named = np.mean([identity.name is not None for identity in found.values()])
    assert named <= 1.5 * rate
    assert known.by_back_end_alone == (number == 1)


def test_people_are_recognised(back_end: BackEnd) -> None:
    rng = np.random.default_rng(2)
    rows_PRD = speakers(rng, 20, 4)
    known = KnownPeople(enrolled(rows_PRD[:, :2]), back_end)
    voices = {f"p{index:02d} {number}": rows_PRD[index, number] for index in range(20) for number in (2, 3)}
    found = known.identify(voices)
    right = [identity.name == label.split()[0] for label, identity in found.items()]
    assert np.mean(right) > 0.9
    for label, identity in found.items():
        assert identity.nearest == label.split()[0]
        assert (identity.score >= identity.threshold) == (identity.name is not None)
    assert known.identify({}) == {}


def test_other_conditions_than_the_cohorts_raise_the_threshold(back_end: BackEnd) -> None:
    """Where all voices are moved the same way, the cohort alone would name many strangers."""
    rng = np.random.default_rng(3)
    known = KnownPeople(enrolled(speakers(rng, 30, 2, shared=1.5)), back_end)
    strangers = speakers(rng, 2000, 1, shared=1.5)[:, 0]
    scores = [one.score for one in known.identify(dict(enumerate(strangers))).values()]  # type: ignore[arg-type]
    assert np.mean(np.array(scores) >= known.threshold) <= 0.05
    assert np.mean(np.array(scores) >= known._threshold_of_cohort()) > 0.1


def test_a_digest_of_what_names_depend_on(back_end: BackEnd) -> None:
    people = enrolled(speakers(np.random.default_rng(4), 3, 2))
    digest = KnownPeople(people, back_end).digest
    assert KnownPeople(list(reversed(people)), back_end).digest == digest
    assert KnownPeople(people[:2], back_end).digest != digest
    assert KnownPeople(people, back_end, false_alarms=0.02).digest != digest


def test_what_is_refused(back_end: BackEnd) -> None:
    people = enrolled(speakers(np.random.default_rng(5), 2, 1))
    for rate in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="is not a rate"):
            KnownPeople(people, back_end, false_alarms=rate)
    with pytest.raises(InputError, match="expects embeddings of 24 dimensions, the voiceprints have 23"):
        KnownPeople(enrolled(speakers(np.random.default_rng(5), 2, 1)[..., :23]), back_end)
    refuse_other_model(people, "0123", folder="people", model_name="small")
    with pytest.raises(
        InputError,
        match=r"people: the voiceprint of 'p00' and 1 more was made with small, not with mine "
        r"\(renew them from their recordings: sdpn enroll --people people --renew --model mine\)",
    ):
        refuse_other_model(people, "4567", folder="people", model_name="mine")
    with pytest.raises(InputError, match="has no digest of its weights"):
        refuse_other_model(people, None, folder="people", model_name="graph.onnx")
