"""Streaming diarization: DER against latency, and the real-time factor.

    python tools/benchmarks/streaming.py measure --json exp/dev.fast.json dev/ more/
    python tools/benchmarks/streaming.py measure --json exp/dev.campplus.json --model campplus.bin \
        --format 3dspeaker dev/ more/
    python tools/benchmarks/streaming.py table exp/*.json
    python tools/benchmarks/streaming.py plot --out docs/img/streaming.png exp/*.json
    python tools/benchmarks/streaming.py cost meeting.wav
    python tools/benchmarks/streaming.py days --days 3 --keep-windows 20000

A folder has audio and ``reference.rttm`` (as `sdpn simulate` writes it), and maybe ``reference.uem``. Three
DERs for each latency, collar 0 with overlap scored: of the turns as first reported, as they stood at the end
after all relabelling, and of the final pass; and that of `sdpn diarize`. The detector and the embeddings
run once for each length of a tick, everything behind them for each latency. ``cost`` runs everything, on one
thread. ``days`` feeds made-up speech of five people to everything behind the detector and the network, and
shows memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from sdpn.cli.table import format_markdown
from sdpn.diarization.embedding import EmbedsWindows, WindowEmbedder
from sdpn.diarization.pipeline import Diarizer
from sdpn.diarization.speech import Segment
from sdpn.diarization.timeline import LabelledSpan
from sdpn.diarization.windows import WindowPlanner
from sdpn.interop.load import load_model
from sdpn.io import audio
from sdpn.io.rttm import Turn, from_annotation, read_rttm
from sdpn.io.uem import read_uem
from sdpn.metrics.diarization import DerComponents, score_recordings
from sdpn.streaming.diarizer import StreamingConfig, StreamingDiarizer
from sdpn.streaming.events import Relabelled
from sdpn.streaming.listener import Heard, Listener

LATENCIES_S = (0.5, 1.0, 2.0, 5.0)


class Recorded:
    """What a listener heard, to be played again: everything but the speakers.

    Args:
        model: embeds windows.
        wave: (S,) at 16 kHz.
        tick: samples of a tick.
        config: settings.
    """

    def __init__(self, model: EmbedsWindows, wave: np.ndarray, tick: int, config: StreamingConfig) -> None:
        listener = Listener(model, config, start_s=0.0)
        whole = len(wave) - len(wave) % tick
        self.ticks = [listener.push(wave[at : at + tick]) for at in range(0, whole, tick)]
        self.end = listener.finish(wave[whole:])
        self._embedder = WindowEmbedder(model)
        self._embedder.push(wave, np.zeros((0, 2)), 0.0)
        self._known: dict[tuple[float, float], np.ndarray] = {}

    def embed(self, start_s: float, end_s: float) -> np.ndarray:
        """Embedding (D,) of a window, computed once."""
        if (start_s, end_s) not in self._known:
            self._known[start_s, end_s] = self._embedder.now(start_s, end_s)
        return self._known[start_s, end_s]


class Player(Listener):
    """A listener that has heard it all before."""

    def __init__(self, model: EmbedsWindows, config: StreamingConfig, recorded: Recorded) -> None:
        super().__init__(model, config, start_s=0.0)
        self._recorded, self._at = recorded, 0

    def push(self, tick_S: np.ndarray) -> Heard:
        """As `Listener.push`."""
        self._num_samples += len(tick_S)
        self._at += 1
        return self._recorded.ticks[self._at - 1]

    def finish(self, rest_S: np.ndarray) -> Heard:
        """As `Listener.finish`."""
        self._num_samples += len(rest_S)
        return self._recorded.end

    def _embed(self, start_s: float, end_s: float) -> np.ndarray:
        return self._recorded.embed(start_s, end_s)


def live(
    model: EmbedsWindows, wave: np.ndarray, recorded: dict[int, Recorded], config: StreamingConfig
) -> tuple[StreamingDiarizer, float]:
    """A stream that has ended, and how many seconds of it were relabelled, for each second."""
    diarizer = StreamingDiarizer(model, config=config)
    if diarizer.tick not in recorded:
        recorded[diarizer.tick] = Recorded(model, wave, diarizer.tick, config)
    diarizer._listener = Player(model, config, recorded[diarizer.tick])
    events = diarizer.push(wave) + diarizer.finish()
    relabelled_s = sum(event.end_s - event.start_s for event in events if isinstance(event, Relabelled))
    return diarizer, relabelled_s / diarizer.heard_s


def measure(
    folders: Sequence[Path], model_path: Path | None, model_format: str | None, latencies_s: Sequence[float]
) -> dict[str, Any]:
    """Components of the DERs of every recording, by latency and kind."""
    model = load_model(model_path, model_format)
    offline = Diarizer(model)
    rows: list[dict[str, Any]] = []
    for folder in folders:
        regions = read_uem(folder / "reference.uem") if (folder / "reference.uem").exists() else None
        for name, turns in sorted(read_rttm(folder / "reference.rttm").items()):
            (path,) = (path for path in sorted(folder.glob(f"{name}.*")) if path.suffix in (".flac", ".wav"))
            wave = audio.read(path)
            recorded: dict[int, Recorded] = {}

            def score(kind: str, latency_s: float | None, found: list[Turn], num_speakers: int) -> None:
                only = None if regions is None else {name: regions[name]}  # noqa: B023
                (scored,) = score_recordings({name: turns}, {name: found}, regions=only)  # noqa: B023
                rows.append(
                    {
                        "recording": f"{folder.name}.{name}",  # noqa: B023
                        "latency_s": latency_s,
                        "kind": kind,
                        "speakers": num_speakers,
                        "true_speakers": len({turn.speaker for turn in turns}),  # noqa: B023
                        **asdict(scored.components),
                    }
                )

            found = from_annotation(offline((wave, audio.RATE_HZ)), name)
            score("offline", None, found, len({turn.speaker for turn in found}))
            for latency_s in latencies_s:
                diarizer, _ = live(model, wave, recorded, StreamingConfig(latency_s=latency_s))
                for kind in ("reported", "relabelled", "final"):
                    spans = getattr(diarizer, kind)
                    score(kind, latency_s, _turns(name, spans), len({span.label for span in spans}))
            print(folder.name, name, flush=True)
    return {"model": None if model_path is None else str(model_path), "rows": rows}


def _turns(name: str, spans: Sequence[LabelledSpan]) -> list[Turn]:
    return [
        Turn(name, span.start_s, span.end_s - span.start_s, str(span.label))
        for span in spans
        if span.end_s > span.start_s
    ]


def ders(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, float | None], float]:
    """DER in % by kind and latency."""
    total: dict[tuple[str, float | None], DerComponents] = {}
    for row in rows:
        of = DerComponents(row["missed_s"], row["false_alarm_s"], row["confusion_s"], row["total_s"])
        key = row["kind"], row["latency_s"]
        total[key] = total.get(key, DerComponents()) + of
    return {key: 100 * components.der for key, components in total.items()}


def table(files: Sequence[Path]) -> str:
    """A row for each latency, three columns for each file."""
    found = {path.stem: ders(json.loads(path.read_text())["rows"]) for path in files}
    header = ["latency"] + [
        f"{name}: {kind}" for name in found for kind in ("reported", "relabelled", "final")
    ]
    rows = [
        [f"{latency_s:g} s"]
        + [
            f"{of[kind, latency_s]:.1f}" if (kind, latency_s) in of else ""
            for of in found.values()
            for kind in ("reported", "relabelled", "final")
        ]
        for latency_s in LATENCIES_S
    ]
    last = ["offline"]
    for of in found.values():
        last += ["", "", f"{of['offline', None]:.1f}"]
    return format_markdown(header, [*rows, last])


def plot(files: Sequence[Path], out: Path) -> None:
    """DER against latency: as reported, after relabelling, and offline."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(files), figsize=(3.2 * len(files), 3), squeeze=False)
    for axis, path in zip(axes[0], files, strict=True):
        of = ders(json.loads(path.read_text())["rows"])
        for kind, style in (("reported", "o-"), ("relabelled", "s--")):
            known = [latency_s for latency_s in LATENCIES_S if (kind, latency_s) in of]
            axis.plot(known, [of[kind, latency_s] for latency_s in known], style, label=kind)
        axis.axhline(of["offline", None], color="grey", linewidth=1, label="offline")
        top = max(of.values())
        axis.set(title=path.stem, xlabel="latency, s", xscale="log", ylim=(0, 1.15 * top))
        axis.set_xlim(LATENCIES_S[0] / 1.3, LATENCIES_S[-1] * 1.3)  # no marker is cut, and all panels agree
        axis.set_xticks(LATENCIES_S, [f"{latency_s:g}" for latency_s in LATENCIES_S])
        axis.minorticks_off()
    axes[0, 0].set_ylabel("DER, %")
    axes[0, 0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def cost(path: Path, model_path: Path | None, model_format: str | None) -> str:
    """Real-time factor of one thread by latency."""
    model, wave = load_model(model_path, model_format), audio.read(path)
    rows = []
    for latency_s in LATENCIES_S:
        warm = StreamingDiarizer(model, latency_s=latency_s)  # loads what is loaded once
        warm.push(wave[: 10 * audio.RATE_HZ])
        warm.finish()
        diarizer, started = StreamingDiarizer(model, latency_s=latency_s), time.process_time()
        for at in range(0, len(wave), 1600):
            diarizer.push(wave[at : at + 1600])
        diarizer.finish()
        rows.append([f"{latency_s:g} s", f"{(time.process_time() - started) / diarizer.heard_s:.3f}"])
    return format_markdown(["latency", "real-time factor"], rows)


class Crowd(Listener):
    """Five people who speak for two seconds each, with a second between: no samples, no networks."""

    def __init__(self, model: EmbedsWindows, config: StreamingConfig, tick: int) -> None:
        super().__init__(model, config, start_s=0.0)
        self._rng, self._tick = np.random.default_rng(0), tick
        self._people = self._rng.normal(size=(5, 192))
        self._planner = WindowPlanner(
            window_s=config.window_s, hop_s=config.hop_s, min_window_s=config.min_window_s
        )

    def push(self, tick_S: np.ndarray) -> Heard:  # noqa: ARG002
        """As `Listener.push`, whatever the samples."""
        before, self._num_samples = self.heard_s, self._num_samples + self._tick
        number = int(self.heard_s / 3)
        is_over = before < 3 * number + 2.5 <= self.heard_s
        finished = [Segment(3.0 * number, 3.0 * number + 2.0)] if is_over else []
        windows = self._planner.push(finished, None)
        noise = self._rng.normal(size=(len(windows.times_N2), 192))
        emb_ND = (self._people[self._rng.integers(5)] + 0.8 * noise).astype(np.float32)
        return Heard(finished, None, self.heard_s, windows, emb_ND)


def days(num_days: float, keep_windows: int) -> str:
    """Memory of the process after every eighth of the time."""
    config = StreamingConfig(keep_windows=keep_windows)
    diarizer = StreamingDiarizer(_NoModel(), config=config)
    diarizer._listener = Crowd(_NoModel(), config, diarizer.tick)
    rows, ticks, started = [], round(num_days * 86400 * audio.RATE_HZ / diarizer.tick), time.process_time()
    silence = np.zeros(diarizer.tick, dtype=np.int16)
    num_events = 0
    for tick in range(1, ticks + 1):
        num_events += len(diarizer.push(silence))
        if tick % max(1, ticks // 8) == 0:
            rows.append(
                [
                    f"{diarizer.heard_s / 3600:.1f}",
                    f"{_memory_mb():.0f}",
                    str(num_events),
                    f"{time.process_time() - started:.0f}",
                ]
            )
    end = diarizer.finish()[-1].to_dict()
    of_end = (
        f"final pass from {end['from_s'] / 3600:.1f} h: {end['num_speakers']} speakers, DER {end['der']:.3f}"
    )
    return format_markdown(["hours", "MB", "events", "CPU s"], rows) + f"\n{of_end}"


class _NoModel:
    """Never asked at a latency of 2 s."""

    calibration: Mapping[str, float] = MappingProxyType({})

    def embed_windows(self, wave_S: np.ndarray, windows_N2: np.ndarray) -> np.ndarray:
        raise AssertionError(f"{len(windows_N2)} windows of {len(wave_S)} samples")


def _memory_mb() -> float:
    """Memory of the process now, not at most."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("measure", "table", "plot", "cost", "days"))
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--model", type=Path, help="default: the one in the package")
    parser.add_argument("--format", help="its format")
    parser.add_argument(
        "--latencies", type=lambda text: tuple(map(float, text.split(","))), default=LATENCIES_S
    )
    parser.add_argument("--json", type=Path, help="measure: where to write the figures")
    parser.add_argument("--out", type=Path, help="plot: the picture")
    parser.add_argument("--days", type=float, default=1.0, help="days: how many")
    parser.add_argument("--keep-windows", type=int, default=20_000, help="days: for the final pass")
    args = parser.parse_intermixed_args()
    if args.step == "measure":
        args.json.write_text(
            json.dumps(measure(args.paths, args.model, args.format, args.latencies), indent=1)
        )
    elif args.step == "table":
        print(table(args.paths))
    elif args.step == "plot":
        plot(args.paths, args.out)
    elif args.step == "cost":
        print(cost(args.paths[0], args.model, args.format))
    else:
        print(days(args.days, args.keep_windows))


if __name__ == "__main__":
    main()
