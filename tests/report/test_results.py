"""Result documents: what is read from them, and how a malformed one is named."""

from __future__ import annotations

import re

import pytest

from sdpn.errors import InputError
from sdpn.report.results import Diarization, Score, Speed, VerificationResults, read_result_file, read_results


def test_documents_of_the_three_commands_are_read(
    write_result, verification, score, diarization, tmp_path
) -> None:
    write_result("verify", "trained", verification)
    write_result("score", "one-speaker", score(collar_s=0.25))
    write_result("diarize", "my.own", diarization)
    write_result("train", "trained", {"anything": 1})
    diarize, scored, train, verify = read_results(tmp_path / "results")
    assert (verify.command, verify.label, verify.argv[1]) == ("verify", "trained", "verify")
    assert verify.results == VerificationResults(0.0793, 0.612, 0.431, 2835, 28350, 0.41)
    assert isinstance(scored.results, Score)
    assert scored.results.collar_s == 0.25
    assert [file.der for file in scored.results.files] == [0.25, 0.0]
    assert diarize.label == "my.own"  # only the first dot separates
    assert diarize.results == Diarization(Speed(100.0, 3.14, 0.0314))
    assert train.results is None


def test_a_missing_folder_has_no_results(tmp_path) -> None:
    assert read_results(tmp_path / "results") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eer": "7 %"}, "'eer' of 'results': Expected `float`, got `str`"),
        ({"eer": None}, "'eer' of 'results': Expected `float`, got `null`"),
        ({"eer": True}, "'eer' of 'results': Expected `float`, got `bool`"),
        ({"eer": float("nan")}, "NaN is not JSON"),
        ({"num_target": -1}, "'num_target' of 'results': Expected `int` >= 0"),
        ({"num_target": 1.5}, "'num_target' of 'results': Expected `int`, got `float`"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(write_result, verification, change, message) -> None:
    path = write_result("verify", "trained", verification | change)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_result_file(path)
    assert caught.value.path == str(path)


def test_a_missing_field_is_named_with_its_place(write_result, score) -> None:
    results = score()
    del results["files"][1]["missed_s"]
    path = write_result("score", "trained", results)
    with pytest.raises(
        InputError, match=re.escape("'files[1]' of 'results': Object missing required field `missed_s`")
    ) as caught:
        read_result_file(path)
    assert caught.value.path == str(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": {}}, "'files' of 'results': Expected `array`, got `object`"),
        ({"files": [1]}, "'files[0]' of 'results': Expected `object`, got `int`"),
        ({"skip_overlap": 0}, "'skip_overlap' of 'results': Expected `bool`, got `int`"),
        ({"reference": "a.rttm"}, "'reference' of 'results': Expected `array`, got `str`"),
        ({"uem": 1}, "'uem' of 'results': "),
        ({"total": []}, "'total' of 'results': Expected `object`, got `array`"),
    ],
)
def test_a_malformed_score_is_refused(write_result, score, changes, message) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read_result_file(write_result("score", "trained", score(**changes)))


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff\xfe", '{"schema": "sdpn.verify/1"}'])
def test_a_file_that_is_no_document_is_named(tmp_path, text) -> None:
    path = tmp_path / "verify.trained.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        read_result_file(path)
    assert caught.value.path == str(path)


def test_the_schema_must_fit_the_name(write_result, verification) -> None:
    path = write_result("verify", "trained", verification, schema="sdpn.score/1")
    with pytest.raises(
        InputError, match=r"its schema is 'sdpn\.score/1', but its name requires 'sdpn\.verify/1'"
    ):
        read_result_file(path)


def test_a_name_without_a_label_is_refused(tmp_path) -> None:
    path = tmp_path / "verify.json"
    path.write_text("{}")
    with pytest.raises(InputError, match=r"is not named <command>\.<label>\.json"):
        read_result_file(path)
