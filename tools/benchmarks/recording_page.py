"""The page of a long recording in headless Chromium: its size, when it is usable, how soon it follows.

The recording repeats a file of speech, and its turns and embeddings are drawn at random, since only the page
is measured. Needs Chromium (``--chromium``) and the package ``playwright``.

    python tools/benchmarks/recording_page.py speech.flac --hours 1
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from playwright.sync_api import sync_playwright

from sdpn.diarization.outputs import LabelledChannel, who_spoke_when
from sdpn.diarization.pipeline import EmbeddedRecording, LabelledRecording
from sdpn.diarization.windows import Windows
from sdpn.io.audio import read
from sdpn.io.rttm import Turn, to_annotation
from sdpn.report.recording_page import write_recording_page


def random_recording(path: Path, hours: float, num_speakers: int, seed: int = 0) -> LabelledChannel:
    """Turns of 1 to 8 s with pauses, and embeddings of windows around a centre for each speaker."""
    rng = np.random.default_rng(seed)
    turns: list[Turn] = []
    at_s = 0.0
    while at_s < 3600 * hours - 10:
        length_s = float(rng.uniform(1, 8))
        turns.append(Turn(path.stem, at_s, length_s, f"speaker{rng.integers(num_speakers):02}"))
        at_s += length_s + float(rng.exponential(0.5))
    times_N2 = np.array(
        [[t.onset_s + k, t.onset_s + k + 1.5] for t in turns for k in range(int(t.duration_s))]
    )
    whose = np.array([int(t.speaker[-2:]) for t in turns for _ in range(int(t.duration_s))])
    emb_ND = rng.standard_normal((num_speakers, 64))[whose] + 0.7 * rng.standard_normal((len(whose), 64))
    embedded = EmbeddedRecording(
        recording=path.stem,
        path=path,
        duration_s=3600 * hours,
        speech=[],
        max_pause_s=0.3,
        windows=Windows(times_N2=times_N2, segment_N=np.zeros(len(times_N2), dtype=np.int64)),
        emb_ND=emb_ND,
    )
    annotation = to_annotation(turns)
    labelled = LabelledRecording(
        annotation=annotation, exclusive=annotation, count_posterior={num_speakers: 1.0}
    )
    return LabelledChannel(embedded=embedded, labelled=labelled, turns=turns, exclusive=turns)


def peak_mb() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Write the page, open it, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("speech", type=Path, help="a file of speech, repeated")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--speakers", type=int, default=6)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    parser.add_argument("--keep", type=Path, help="folder for the page and pictures of it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        wave = read(args.speech)
        audio = folder / "long.wav"
        with soundfile.SoundFile(audio, "w", 16000, 1) as file:
            for _ in range(round(3600 * args.hours * 16000 / len(wave))):
                file.write(wave)
        channel = random_recording(audio, soundfile.info(audio).duration / 3600, args.speakers)
        spoken = who_spoke_when("long", audio, [channel], with_embeddings=False)
        before_mb, started = peak_mb(), time.process_time()
        write_recording_page(folder / "long.html", spoken, [channel])
        print(f"page made in {time.process_time() - started:.1f} CPU s, {len(channel.turns)} turns")
        print(f"peak memory {peak_mb():.0f} MB, {before_mb:.0f} MB before")
        for file in sorted(folder.glob("long.html")) + sorted(folder.glob("long.sound.ogg")):
            print(f"{file.name} {file.stat().st_size / 1e6:.1f} MB")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1100, "height": 1500})
            problems: list[str] = []
            page.on("console", lambda message: problems.append(message.text))
            page.on("pageerror", lambda error: problems.append(str(error)))
            started = time.perf_counter()
            page.goto((folder / "long.html").absolute().as_uri())
            page.wait_for_selector("html[data-ready]")
            page.wait_for_selector("#play:not([disabled])")
            print(f"usable after {time.perf_counter() - started:.2f} s")
            seeks = page.evaluate(SEEKS)
            middle, longest = statistics.median(seeks), max(seeks)
            print(f"a click seeks within {middle:.0f} ms (median), {longest:.0f} ms (longest)")
            for zoom in (1, 4, 10):
                steps = page.evaluate(FOLLOW, zoom)
                middle, longest = statistics.median(steps), max(steps)
                print(f"zoom {2**zoom}: follows within {middle:.0f} ms (median), {longest:.0f} ms (longest)")
            print(f"console: {problems or 'nothing'}")
            if args.keep:
                page.screenshot(path=folder / "light.png")
                for _ in range(5):
                    page.click("#in")
                page.screenshot(
                    path=folder / "zoomed.png", clip={"x": 0, "y": 0, "width": 1100, "height": 500}
                )
                page.emulate_media(color_scheme="dark")
                page.screenshot(path=folder / "dark.png")
                page.set_viewport_size({"width": 390, "height": 844})
                page.screenshot(path=folder / "phone.png", full_page=True)
            browser.close()


#: Clicks in the lanes at 20 places; the time until the audio stands there, in ms.
SEEKS = """async () => {
  const found = [], drawing = document.querySelector("#stage svg"), box = drawing.getBoundingClientRect();
  const number = document.querySelector("#time"), play = document.querySelector("#play");
  for (let k = 1; k <= 20; k++) {
    const started = performance.now(), before = number.value;
    const x = box.left + box.width * ((k * 0.382) % 1);
    drawing.dispatchEvent(new MouseEvent("click", { clientX: x, clientY: box.top + 5 }));
    while (number.value === before) await new Promise(requestAnimationFrame);
    found.push(performance.now() - started);
    if (play.textContent === "pause") play.click();
    await new Promise((done) => setTimeout(done, 200));
  }
  return found;
}"""

#: Zooms in so many times, and out again; the time of each step until it is drawn, in ms.
FOLLOW = """async (times) => {
  const found = [], drawn = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const step = async (id) => {
    const started = performance.now();
    document.querySelector(id).click();
    await drawn();
    found.push(performance.now() - started);
  };
  for (let k = 0; k < times; k++) await step("#in");
  for (let k = 0; k < times; k++) await step("#out");
  return found;
}"""

if __name__ == "__main__":
    main()
