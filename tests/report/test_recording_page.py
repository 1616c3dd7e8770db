"""The page of a recording: what is on it, names that would break it, and that it works in a browser."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page

import sdpn.report.recording_page as module
from sdpn.cli.main import main
from sdpn.diarization.outputs import LabelledChannel, who_spoke_when
from sdpn.diarization.pipeline import EmbeddedRecording, LabelledRecording
from sdpn.diarization.windows import Windows
from sdpn.errors import InputError
from sdpn.io.rttm import Turn, to_annotation, write_rttm
from sdpn.report.listening import Listening, listen
from sdpn.report.recording_page import build_recording_page, write_recording_page
from sdpn.report.window_views import similarities, window_map
from tests.adaptation.conftest import base  # noqa: F401 - a fixture
from tests.browser import opened
from tests.report.test_page import _Page

RATE = 16000
HOSTILE = ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "Zoë & 李"]


def tones(path: Path, seconds: int = 12) -> Path:
    """A file with a tone of another pitch in each second, and silence in the last."""
    times = np.arange(seconds * RATE) / RATE
    wave = 0.3 * np.sin(2 * np.pi * 200 * (1 + np.floor(times)) * times)
    wave[-RATE:] = 0
    soundfile.write(path, wave, RATE)
    return path


def diarized(audio: Path, names: list[str], *, duration_s: float = 12.0) -> LabelledChannel:
    """A turn of a second and a half every two seconds, the speakers one after the other."""
    sure = (0.9, 0.95, 0.3)
    turns = [Turn("talk", 2.0 * k, 1.5, names[k % len(names)], "1", sure[k % 3]) for k in range(6)]
    times_N2 = np.array([[turn.onset_s, turn.end_s] for turn in turns])
    emb_ND = np.eye(3)[[k % len(names) for k in range(6)]] + 0.01
    return LabelledChannel(
        embedded=EmbeddedRecording(
            recording="talk", path=audio, duration_s=duration_s, speech=[], max_pause_s=0.3,
            windows=Windows(times_N2=times_N2, segment_N=np.arange(6)), emb_ND=emb_ND,
        ),
        labelled=LabelledRecording(
            annotation=to_annotation(turns), exclusive=to_annotation(turns), count_posterior={3: 0.8, 2: 0.2}
        ),
        turns=turns,
        exclusive=turns,
    )  # fmt: skip


def random_day(path: Path) -> LabelledChannel:
    """A day of six speakers, of whom somebody nearly always talks."""
    rng = np.random.default_rng(0)
    onsets = np.sort(rng.uniform(0, 86390, 11_000))
    lengths = np.minimum(rng.uniform(1, 8, len(onsets)), np.diff(onsets, append=86400.0))
    turns = [
        Turn("day", float(onset), float(length), f"speaker{rng.integers(6):02}")
        for onset, length in zip(onsets, lengths, strict=True)
    ]
    channel = diarized(path, ["a"], duration_s=86400.0)
    return replace(channel, turns=turns, exclusive=turns)


def written(folder: Path, names: list[str], reference: list[Turn] | None = None) -> Path:
    audio = tones(folder / "talk.wav")
    channel = diarized(audio, names)
    spoken = who_spoke_when("talk", audio, [channel], with_embeddings=False)
    write_recording_page(folder / "talk.html", spoken, [channel], reference=reference)
    return folder / "talk.html"


def data_of(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_peaks_and_opus_are_those_of_the_file(tmp_path: Path) -> None:
    heard = listen(tones(tmp_path / "talk.wav"))
    assert heard.duration_s == 12.0
    assert len(heard.peaks_P) == 12 * 20
    assert (heard.peaks_P[: 11 * 20] > 230).all() and (heard.peaks_P[11 * 20 :] == 0).all()
    assert heard.opus is not None
    (tmp_path / "talk.ogg").write_bytes(heard.opus)
    beside = listen(tmp_path / "talk.wav", sound=tmp_path / "beside.ogg")
    assert beside.opus is None and (beside.peaks_P == heard.peaks_P).all()
    np.testing.assert_array_equal(
        soundfile.read(tmp_path / "beside.ogg")[0], soundfile.read(tmp_path / "talk.ogg")[0]
    )
    decoded, rate = soundfile.read(tmp_path / "talk.ogg")
    assert len(decoded) / rate == pytest.approx(12.0, abs=0.1)
    for second in range(11):  # the pitch of each second, from the middle of it
        part = decoded[int((second + 0.25) * rate) : int((second + 0.75) * rate)]
        spectrum = np.abs(np.fft.rfft(part))
        assert np.argmax(spectrum) * rate / len(part) == pytest.approx(200 * (second + 1), abs=5)


def test_a_recording_without_samples_has_no_peaks(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(10), RATE)
    assert len(listen(tmp_path / "short.wav").peaks_P) == 1


def test_windows_that_sound_alike_lie_together() -> None:
    rng = np.random.default_rng(0)
    whose = np.repeat([0, 1, 2], 20)
    emb_ND = np.eye(8)[whose] + 0.1 * rng.standard_normal((60, 8))
    times_N2 = np.stack([np.arange(60.0), np.arange(60.0) + 1], axis=1)
    places = window_map(emb_ND, times_N2, whose)
    assert np.abs(places.xy_N2).max() == pytest.approx(1.0) and not places.is_projection
    np.testing.assert_array_equal(places.xy_N2, window_map(emb_ND, times_N2, whose).xy_N2)
    distance = np.linalg.norm(places.xy_N2[:, None] - places.xy_N2[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (whose[distance.argmin(axis=1)] == whose).all()


@pytest.mark.parametrize("count", [0, 1, 2, 5, 29, 30, 2000])
def test_any_number_of_windows(count: int) -> None:
    emb_ND = np.random.default_rng(1).standard_normal((count, 4))
    times_N2 = np.stack([np.arange(count), np.arange(count) + 1.0], axis=1)
    if count < 2000:
        assert len(window_map(emb_ND, times_N2, np.zeros(count, dtype=int)).xy_N2) == count
    assert len(similarities(emb_ND, times_N2, np.zeros(count, dtype=int)).cosine_MM) == min(count, 300)


def test_similarities_are_cosines_ordered_by_speaker() -> None:
    emb_ND = np.array([[1.0, 0], [0, 2.0], [3.0, 0], [-1.0, 0]])
    times_N2 = np.array([[0.0, 1], [1, 2], [2, 3], [3, 4]])
    found = similarities(emb_ND, times_N2, np.array([1, 0, 1, -1]))
    assert found.times_M2[:, 0].tolist() == [3, 1, 0, 2]
    cosine = found.low + (1 - found.low) * found.cosine_MM / 255
    np.testing.assert_allclose(
        cosine, [[1, 0, -1, -1], [0, 1, 0, 0], [-1, 0, 1, 1], [-1, 0, 1, 1]], atol=0.01
    )


def test_the_page_holds_everything_and_no_address(tmp_path: Path) -> None:
    html = written(tmp_path, ["Anna", "Ben", "Cem"]).read_text()
    page = _Page(html)
    data = data_of(html)
    assert data["speakers"] == ["Anna", "Ben", "Cem"] and len(data["turns"]) == 6
    assert data["turns"][1] == [2.0, 3.5, 1, 0.95]
    assert "unsure" in page.texts
    assert html.count('<g class="unsure"') == 1
    assert data["map"]["speakers"] == [0, 1, 2, 0, 1, 2]
    assert "12 s, 3 speakers" in page.text and "How many speakers?" in page.text
    assert not re.search(r"https?://(?!www\.w3\.org)", re.sub(r"<pre>.*?</pre>", "", html, flags=re.DOTALL))
    assert "Diarization error rate" not in page.text


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    html = written(tmp_path, HOSTILE).read_text()
    page = _Page(html)
    assert page.tags.count("script") == 4  # data, one piece of audio, two scripts
    assert "onerror" not in dict(page.attributes)
    assert data_of(html)["speakers"] == HOSTILE


def test_errors_are_those_of_the_score(tmp_path: Path) -> None:
    reference = [Turn("talk", 2.0 * k, 1.5, f"r{k % 3}") for k in range(5)]  # the last turn is a false alarm
    html = written(tmp_path, ["a", "b", "c"], reference).read_text()
    assert "<b>20.00</b>" in html  # 1.5 s of 7.5
    assert "r0" in html and "false alarm" in html


def test_without_audio_or_speech(tmp_path: Path) -> None:
    channel = diarized(tmp_path / "none.wav", ["a"])
    spoken = who_spoke_when("talk", None, [channel], with_embeddings=False)
    html = build_recording_page(spoken, [channel], None)
    assert "could not be read a second time" in html and data_of(html)["peaks"] is None


def test_long_audio_lies_beside_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_EMBEDDED_S", 10.0)
    (tmp_path / "talk.ogg").write_bytes(b"a recording of the user")
    page = written(tmp_path, ["a", "b"])
    assert data_of(page.read_text())["audio"] == "talk.sound.ogg"
    assert "opus" not in dict(_Page(page.read_text()).attributes).get("class", "")
    assert soundfile.info(tmp_path / "talk.sound.ogg").duration == pytest.approx(12.0, abs=0.1)
    assert (tmp_path / "talk.ogg").read_bytes() == b"a recording of the user"
    with opened(page) as browser:
        browser.wait_for_selector("#play:not([disabled])")
        browser.locator("#turns tbody tr").nth(2).click()
        browser.wait_for_selector("#play[aria-pressed=true]")
        browser.wait_for_timeout(300)
        assert shown_s(browser) > 4.0


@pytest.mark.skipif(not Path("/proc").exists(), reason="limits on the size of files are those of Linux")
def test_a_full_disk_leaves_neither_page_nor_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource
    import signal

    monkeypatch.setattr(module, "_LONGEST_EMBEDDED_S", 10.0)
    audio = tones(tmp_path / "talk.wav", 60)
    channel = diarized(audio, ["a"], duration_s=60.0)
    spoken = who_spoke_when("talk", audio, [channel], with_embeddings=False)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(InputError, match=r"talk\.sound\.ogg.*cannot be written"):
            write_recording_page(tmp_path / "talk.html", spoken, [channel])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [file.name for file in tmp_path.iterdir()] == ["talk.wav"]


def test_a_day_in_a_browser(tmp_path: Path) -> None:
    """Eleven thousand turns of a day, at every zoom; the sound is in a file that is missing."""
    channel = random_day(tmp_path / "day.wav")
    spoken = who_spoke_when("day", None, [channel], with_embeddings=False)
    peaks_P = np.random.default_rng(0).integers(0, 255, 600_000).astype(np.uint8)
    heard = Listening(duration_s=86400.0, peaks_P=peaks_P, opus=None)
    page_file = tmp_path / "day.html"
    page_file.write_text(build_recording_page(spoken, [channel], heard, beside=tmp_path / "day.sound.ogg"))
    assert page_file.stat().st_size < 5_000_000
    with opened(page_file, may_fail="day.sound.ogg") as page:
        page.wait_for_selector("html[data-ready]")
        page.wait_for_selector("#problem:not([hidden])")
        assert page.text_content("#shown") == f"1 to 50 of {len(channel.turns)}"
        page.locator("#turns tbody tr").nth(40).click()
        at = page.text_content("#time")
        for _ in range(20):
            page.keyboard.press("+")
        first, _, span, _ = map(float, str(page.get_attribute("#stage svg", "viewBox")).split())
        start = channel.turns[40].onset_s
        assert span < 20 and first <= start <= first + span, (first, span, start)
        assert page.text_content("#time") == at
        page.keyboard.press("n")
        assert page.text_content("#time") != at


def shown_s(page: Page) -> float:
    """The time that the page shows."""
    return float(str(page.text_content("#time")).split()[0])


def test_in_a_browser(tmp_path: Path) -> None:
    file = written(tmp_path, HOSTILE, [Turn("talk", 0.2, 11.0, "true")])
    with opened(file) as page:
        page.wait_for_selector("#play:not([disabled])")
        assert page.text_content("#time") == "0.00 s / 12 s"
        lanes = page.locator("#stage svg").bounding_box()
        assert lanes is not None
        page.mouse.click(lanes["x"] + lanes["width"] * 0.5, lanes["y"] + 6)
        page.wait_for_selector("#play[aria-pressed=true]")
        began = shown_s(page)
        assert 6.0 <= began < 8.0
        page.wait_for_timeout(500)
        assert shown_s(page) > began  # it plays
        page.keyboard.press(" ")
        page.wait_for_selector("#play[aria-pressed=false]")
        at = shown_s(page)
        page.keyboard.press("Shift+ArrowLeft")
        assert shown_s(page) == pytest.approx(at - 1, abs=0.05)
        page.keyboard.press("p")
        page.keyboard.press(" ")
        for canvas in ("map", "matrix"):  # drawn, and in more than one colour
            colours = page.evaluate(
                f"""new Set(new Uint32Array(document.querySelector("#{canvas}").getContext("2d")
                .getImageData(0, 0, 520, 520).data.buffer)).size"""
            )
            assert colours > 3
        assert page.locator("#turns tbody tr").count() == 6
        page.click("#in")
        assert float(page.get_attribute("#stage svg", "viewBox").split()[2]) == pytest.approx(6.0, abs=0.1)
        wave = page.evaluate(
            """[...document.querySelector("#wave").firstChild.shadowRoot.querySelectorAll("canvas")].length"""
        )
        assert wave > 0


def test_on_a_phone_in_the_dark(tmp_path: Path) -> None:
    with opened(written(tmp_path, ["a", "b"]), width=390, height=800, dark=True) as page:
        page.wait_for_selector("html[data-ready]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"


def of_an_unknown_codec() -> bytes:
    """A second of sound in a codec that no browser has (True Audio), in a container that this one reads."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        track = container.add_stream("tta", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, RATE), np.int16), format="s16", layout="mono")
        frame.sample_rate = RATE
        container.mux([*track.encode(frame), *track.encode(None)])
        container.close()
        return buffer.getvalue()


@pytest.mark.parametrize("where", ["in the page", "beside it", "nowhere"])
def test_a_browser_that_cannot_play_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """As one without Opus: the container is read, and there is no decoder. Everything else works."""
    if where == "in the page":
        listened = module.listen
        monkeypatch.setattr(
            module,
            "listen",
            lambda *given, **options: replace(listened(*given, **options), opus=of_an_unknown_codec()),
        )
    else:
        monkeypatch.setattr(module, "_LONGEST_EMBEDDED_S", 10.0)
    page_file = written(tmp_path, ["a", "b"])
    if where == "beside it":
        (tmp_path / "talk.sound.ogg").write_bytes(of_an_unknown_codec())
    elif where == "nowhere":
        (tmp_path / "talk.sound.ogg").unlink()
    with opened(page_file, may_fail="talk.sound.ogg" if where == "nowhere" else None) as page:
        page.wait_for_selector("#problem:not([hidden])")
        problem = str(page.text_content("#problem"))
        assert "cannot play Opus" in problem and ("talk.sound.ogg" in problem) == (where != "in the page")
        assert page.is_disabled("#play")
        page.locator("#turns tbody tr").nth(2).click()
        assert shown_s(page) == pytest.approx(4.0, abs=0.01)
        lanes = page.locator("#stage svg")
        lanes.scroll_into_view_if_needed()
        box = lanes.bounding_box()
        assert box is not None
        lanes.click(position={"x": box["width"] * 0.75, "y": 6})
        assert shown_s(page) == pytest.approx(9.0, abs=0.1)
        for key, expected in (("ArrowLeft", 4.0), ("n", 6.0), ("p", 4.0), (" ", 4.0), ("k", 4.0)):
            page.keyboard.press(key)
            assert shown_s(page) == pytest.approx(expected, abs=0.1), key
        page.locator("button[data-only]").first.click()
        page.click("#in")
        shown = str(page.get_attribute("#stage svg", "viewBox")).split()
        assert float(shown[2]) == pytest.approx(6.0, abs=0.1)


def test_the_command_writes_and_resumes(
    tmp_path: Path,
    base: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    tones(tmp_path / "talk.wav", 4)
    write_rttm(tmp_path / "ref.rttm", "talk", [Turn("talk", 0.0, 3.0, "x")])
    command = ["diarize", "talk.wav", "--model", str(base), "--out", "out", "--report", "--quiet"]
    assert main(command) == 0
    assert "talk.html" in capsys.readouterr().out or (tmp_path / "out/talk.html").exists()
    before = (tmp_path / "out/talk.html").stat().st_mtime_ns
    assert main(command) == 0
    assert "skipped" in capsys.readouterr().out
    assert main([*command, "--ref", "ref.rttm"]) == 0
    assert (tmp_path / "out/talk.html").stat().st_mtime_ns != before
    assert "Diarization error rate" in (tmp_path / "out/talk.html").read_text()
    capsys.readouterr()
    assert main([*command[:-2], "--ref", "ref.rttm"]) == 2
    assert "--ref has no effect without --report" in capsys.readouterr().err
    shutil.copy("talk.wav", "other.wav")
    assert main(["diarize", "other.wav", *command[2:], "--ref", "ref.rttm"]) == 2
    assert "--ref has no recording 'other'" in capsys.readouterr().err
