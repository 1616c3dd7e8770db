"""The whole page: numbers, missing parts, isolation from the network, and hostile names."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sdpn.errors import InputError
from sdpn.report.experiment import read_experiment
from sdpn.report.page import build_page
from sdpn.report.summary import HEADER, summary_notes, summary_rows

_VOID = {"meta", "img", "br", "hr", "input", "link"}
_DRAWN_VOID = {"rect", "path"}


class _Page(HTMLParser):
    """Checks that tags nest, and collects tags, texts and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [str(value) for key, value in attrs if key == "id"]
        if tag not in _VOID:
            assert tag not in _DRAWN_VOID, f"<{tag}> is not closed"
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def full(write_result, verification, score, diarization, tmp_path):
    """An experiment with everything but a training run."""
    write_result("verify", "trained", verification)
    write_result("verify", "untrained", verification | {"eer": 0.165})
    for label in ("one-speaker", "untrained", "trained", "spectral"):
        write_result("score", label, score())
    write_result("diarize", "trained", diarization)
    return tmp_path


def test_rows_are_ordered_and_hold_the_numbers_of_the_documents(full) -> None:
    rows = summary_rows(read_experiment(full))
    assert [row.label for row in rows] == ["trained", "spectral", "untrained", "one-speaker"]
    # missed and false alarm are 1 s each of 10 s
    assert rows[0].cells == (
        "trained", "7.93", "0.612", "0.431", "20.00", "10.00", "10.00", "0.00", "0.0314",
    )  # fmt: skip
    assert rows[3].cells[1:4] == ("–", "–", "–")
    assert len(rows[0].cells) == len(HEADER)


def test_the_page_shows_the_table_and_the_recordings(full) -> None:
    page = _Page(build_page(read_experiment(full)))
    for cell in ("7.93", "16.50", "20.00", "0.0314", "one-speaker", "spectral"):
        assert cell in page.texts
    assert "An hour of audio takes 1 min 53 s." in page.text
    assert "EER and minDCF over 2,835 target and 28,350 non-target trials." in page.text
    assert "no collar: reference boundaries are scored" in page.text
    assert "overlapping speech is scored" in page.text
    assert "missed 1.00 s, false alarm 1.00 s, confusion 0.00 s of 8.0 s; 3 speakers found, 2 in" in page.text
    assert "sdpn score --made 'by hand'" in page.text
    # meet (25 %) before solo (0 %): the worst first
    articles = [value for key, value in page.attributes if key == "data-name"]
    assert articles[:2] == ["meet", "solo"]
    # every link of the table leads to a timeline
    links = {
        value[1:] for key, value in page.attributes if key == "href" and value and value.startswith("#t0")
    }
    assert len(links) == 2
    assert links <= set(page.ids)


def test_the_one_speaker_baseline_is_drawn_only_when_alone(full, write_result, score) -> None:
    page = build_page(read_experiment(full))
    assert page.count('class="panel"') == 3
    for path in (full / "results").glob("*.json"):
        path.unlink()
    write_result("score", "one-speaker", score())
    assert build_page(read_experiment(full)).count('class="panel"') == 1


def test_nothing_is_loaded_from_anywhere(full) -> None:
    html = build_page(read_experiment(full))
    assert "://" not in html
    assert "@import" not in html
    assert "url(" not in html
    assert "default-src 'none'" in html
    for key, value in _Page(html).attributes:
        if key in ("src", "href", "srcset", "xlink:href"):
            assert str(value).startswith(("#", "data:"))


def test_the_policy_allows_just_the_pages_own_script(full) -> None:
    import base64
    import hashlib

    html = build_page(read_experiment(full))
    (script,) = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html


def test_hostile_names_stay_text(write_result, score, tmp_path) -> None:
    evil = "<script>alert(1)</script>\"'&<img/src=x>"
    write_result("score", "trained", score(meet=evil, speaker=evil), command=["sdpn", "score", evil])
    write_result("score", "<b>label", score(meet=evil, speaker=evil))
    (tmp_path / "config.yaml").write_text(f"name: {evil}\n</code></pre><script>alert(2)</script>")
    html = build_page(read_experiment(tmp_path))
    page = _Page(html)
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert page.text.count("<script>alert(1)</script>") >= 5
    assert ("data-name", evil) in page.attributes


def test_missing_parts_say_how_to_make_them(write_result, verification, tmp_path) -> None:
    write_result("verify", "trained", verification)
    text = _Page(build_page(read_experiment(tmp_path))).text
    for hint in (
        "Not measured: sdpn score",
        "Not measured: sdpn diarize",
        "No diarization has been scored",
        "nothing has been scored yet",
        "No training log",
        "No prototype curves",
        "No config.yaml",
    ):
        assert hint in text


def test_training_without_results(tmp_path) -> None:
    from torch.utils.tensorboard.writer import SummaryWriter

    folder = tmp_path / "sdpn" / "tensorboard"
    with SummaryWriter(str(folder)) as writer:
        for step in range(5):
            writer.add_scalar("loss/ce", 5.0 - step, step)
            writer.add_scalar("my own/tag", step, step)
            writer.add_scalar("prototypes/dead", step, step)
        import numpy as np

        writer.add_histogram("prototypes/usage", np.arange(10.0), 4)
        writer.add_image("prototypes/similarity", np.zeros((1, 3, 3), dtype=np.float32), 0)
        writer.add_image("prototypes/similarity", np.ones((1, 3, 3), dtype=np.float32), 4)
    (tmp_path / "sdpn" / "config.yaml").write_text("seed: 12345\n")
    experiment = read_experiment(tmp_path)
    assert list(experiment.runs) == ["sdpn"]
    page = _Page(build_page(experiment))
    assert "No results yet." in page.text
    for tag in ("loss/ce", "my own/tag", "prototypes/dead", "prototypes/usage", "prototypes/similarity"):
        assert tag in page.text
    assert "seed: 12345" in page.text
    assert page.tags.count("img") == 2
    assert summary_notes(experiment) == []


def test_what_should_be_better_and_is_worse_is_said(write_result, verification, score, tmp_path) -> None:
    write_result("verify", "trained", verification)
    write_result("verify", "trained-back-end", verification | {"eer": 0.173})
    write_result("verify", "untrained", verification | {"eer": 0.05})
    write_result("score", "trained", score())
    write_result("score", "one-speaker", score())  # no better, but no worse
    notes = [note for note in summary_notes(read_experiment(tmp_path)) if note.startswith("Worse")]
    assert notes == [
        "Worse: trained has 7.93 % EER, more than untrained with 5.00 %.",
        "Worse: trained-back-end has 17.30 % EER, more than trained with 7.93 %.",
    ]
    assert '<li class="bad">Worse: trained has' in build_page(read_experiment(tmp_path))


def test_a_report_holds_no_absolute_paths(write_result, verification, score, tmp_path) -> None:
    argv = ["sdpn", "verify", "--back-end", str(tmp_path / "a b" / "model"), f"a={tmp_path}/w.yaml"]
    write_result("verify", "trained", verification, command=argv)
    write_result("score", "trained", score())
    (tmp_path / "sdpn").mkdir()
    (tmp_path / "sdpn" / "config.yaml").write_text(f"data: ['{tmp_path}/x, y', \"{tmp_path}\"]\n")
    for _ in ("whole", "without its turns"):
        page = build_page(read_experiment(tmp_path))
        assert str(tmp_path) not in page and str(tmp_path.parent) not in page
        assert "a b/model" in page and "w.yaml" in page
        (tmp_path / "hyp.rttm").unlink(missing_ok=True)
    assert "hyp.rttm no longer exists" in page


def test_what_is_not_comparable_is_reported(write_result, verification, score, tmp_path) -> None:
    write_result("verify", "trained", verification)
    write_result("verify", "untrained", verification | {"num_target": 7})
    write_result("score", "trained", score())
    write_result("score", "untrained", score(collar_s=0.25))
    other = score()
    other["files"] = other["files"][:1]
    write_result("score", "one-speaker", other)
    notes = [note for note in summary_notes(read_experiment(tmp_path)) if note.startswith("Not comparable")]
    assert len(notes) == 3
    assert "different trials" in notes[0]
    assert "untrained: 0.25 s on each side" in notes[1]
    assert "md-eval -c 0.25, pyannote.metrics collar=0.5" in notes[1]
    assert "different sets of recordings" in notes[2]


def test_missing_and_changed_rttm_files_are_reported(write_result, score, tmp_path) -> None:
    write_result("score", "trained", score())
    (tmp_path / "hyp.rttm").write_text("SPEAKER meet 1 0 2 <NA> <NA> x <NA> <NA>\n")
    text = _Page(build_page(read_experiment(tmp_path))).text
    assert "have changed since they were scored (meet, solo)" in text
    (tmp_path / "hyp.rttm").unlink()
    text = _Page(build_page(read_experiment(tmp_path))).text
    assert f"cannot be drawn: …/{tmp_path.name}/hyp.rttm no longer exists" in text
    assert "25.0" in text  # the table needs no RTTM


def test_a_malformed_rttm_is_named(write_result, score, tmp_path) -> None:
    write_result("score", "trained", score())
    (tmp_path / "hyp.rttm").write_text("SPEAKER meet 1 zero\n")
    with pytest.raises(InputError) as caught:
        build_page(read_experiment(tmp_path))
    assert (caught.value.path, caught.value.line) == (str(tmp_path / "hyp.rttm"), 1)


def test_a_folder_without_anything_is_refused(tmp_path) -> None:
    (tmp_path / "tensorboard").mkdir()
    with pytest.raises(InputError, match="contains nothing to report"):
        read_experiment(tmp_path)
    with pytest.raises(InputError, match="no such experiment folder"):
        read_experiment(tmp_path / "nowhere")


def test_a_benchmark_is_a_table(tmp_path: Path, write_result: Callable[..., Path]) -> None:
    value = {"value": 6.42, "low": 4.9, "high": 7.9, "seeds": []}
    value |= dict.fromkeys(("difference", "difference_low", "difference_high"))
    other = {**value, "value": 5.0, "difference": -1.42, "difference_low": -2.0, "difference_high": -0.5}
    row = {"part": "eer", "corpus": "dev <i>", "condition": "clean", "figure": "EER %"}
    models = [{"name": "a"}, {"name": "b"}]
    write_result("benchmark", "both", {"models": models, "rows": [{**row, "values": [value, other]}]})
    experiment = read_experiment(tmp_path)
    assert summary_rows(experiment) == []  # no row of dashes
    page = _Page(build_page(experiment))
    assert {"6.42 (4.90 to 7.90)", "-1.42 (-2.00 to -0.50)", "less a", "dev <i>"} <= set(page.texts)
    write_result("benchmark", "both", {"models": models, "rows": [{**row, "values": [value]}]})
    with pytest.raises(InputError, match="'EER %' has 1 values, expected one for each of 2"):
        read_experiment(tmp_path)
