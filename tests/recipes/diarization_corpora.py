"""Tiny corpora with the layouts and file names of the diarization recipes.

Each writer returns the options of run.sh.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from sdpn.io.rttm import Turn, write_rttm, write_rttms
from sdpn.io.uem import write_uem


@dataclass(frozen=True)
class Clip:
    """A recording: samples (S,) at 16 kHz, and who spoke when."""

    wave_S: np.ndarray
    turns: list[Turn]

    @property
    def length_s(self) -> float:
        """Its length."""
        return len(self.wave_S) / 16000

    def named(self, recording: str) -> list[Turn]:
        """The turns, of a recording of that name."""
        return [replace(turn, recording=recording) for turn in self.turns]


def hum(number: int) -> Clip:
    """Three seconds that are no speech, with turns of two speakers; each number sounds different."""
    times_s = np.arange(3 * 16000) / 16000
    wave_S = (0.1 * np.sin(2 * np.pi * (200 + 50 * number) * times_s)).astype(np.float32)
    return Clip(wave_S, [Turn("x", 0.25, 1.0, "A"), Turn("x", 1.25, 1.5, "B")])


#: Recordings of dev and test, as they are called in each corpus.
NAMES = {
    "aishell4": (("20200706_L_R001S01C01", "20200616_M_R001S01C01"), ("L_R003S01C02", "S_R004S04C01")),
    "alimeeting": (("R8001_M8004", "R8003_M8001"), ("R8002_M8002", "R8004_M8005")),
    "callhome": (("iaaa", "iabd"), ("iaab", "iaaf")),
    "dihard3": (("DH_DEV_0001", "DH_DEV_0002"), ("DH_EVAL_0001", "DH_EVAL_0002")),
    "msdwild": (("00001", "00014"), ("00002", "00005")),
}


def write_flac(path: Path, wave_S: np.ndarray, *, num_channels: int = 1) -> None:
    """Write PCM of 16 bits; further channels are quieter, and backwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    others = [wave_S[::-1] / (2 + number) for number in range(num_channels - 1)]
    soundfile.write(path, np.stack([wave_S, *others], axis=1), 16000, "PCM_16")


def write_aishell4(folder: Path, dev: Mapping[str, Clip], test: Mapping[str, Clip]) -> list[str]:
    """8 channels of FLAC, and RTTM beside the TextGrids; train has a meeting that is not of dev."""
    parts = {name: f"train_{name.split('_')[1]}" for name in dev}
    every = {**dev, **test, "20200807_S_R001S05C01": hum(9)}
    for name, clip in every.items():
        part = folder / parts.get(name, "test" if name in test else "train_S")
        write_flac(part / f"wav/{name}.flac", clip.wave_S, num_channels=8)
        write_rttm(part / f"TextGrid/{name}.rttm", name, clip.named(name))
        write_textgrid(part / f"TextGrid/{name}.TextGrid", clip)
    listed = folder / "dev.txt"
    listed.write_text("# of train\n" + "".join(f"{name}\n" for name in dev))
    return ["--corpus", str(folder), "--dev_list", str(listed)]


def write_alimeeting(folder: Path, dev: Mapping[str, Clip], test: Mapping[str, Clip]) -> list[str]:
    """8 channels of WAV, with the number of the array in their names, and TextGrids without."""
    for part, clips in (("Eval", dev), ("Test", test)):
        for number, (name, clip) in enumerate(clips.items(), start=801):
            far = folder / f"{part}_Ali/{part}_Ali_far"
            write_flac(far / f"audio_dir/{name}_MS{number}.wav", clip.wave_S, num_channels=8)
            write_textgrid(far / f"textgrid_dir/{name}.TextGrid", clip)
    return ["--corpus", str(folder)]


def write_callhome(folder: Path, dev: Mapping[str, Clip], test: Mapping[str, Clip]) -> list[str]:
    """SPH of 8 kHz in mu-law, the key of Kaldi's recipe, and the sublists."""
    key, lists = folder / "sre2000-key", folder / "CALLHOME_sublists"
    key.mkdir(parents=True)
    (folder / "LDC2001S97/sid00sg1/data").mkdir(parents=True)
    turns = []
    for part, clips in (("part1", dev), ("part2", test)):
        (lists / part).mkdir(parents=True)
        for name, clip in clips.items():
            path = folder / f"LDC2001S97/sid00sg1/data/{name}.sph"
            soundfile.write(path, clip.wave_S[::2], 8000, "ULAW", format="NIST")
            turns += [replace(turn, channel="0") for turn in clip.named(name)]
        two = [name for name, clip in clips.items() if len({turn.speaker for turn in clip.turns}) == 2]
        for number, names in ((2, two), (3, [name for name in clips if name not in two])):
            (lists / part / f"{part}_{number}spks.txt").write_text("".join(f"{name}\n" for name in names))
    write_rttms(key / "fullref.rttm", turns)
    return ["--corpus", str(folder / "LDC2001S97"), "--key", str(key), "--sublists", str(lists)]


def write_dihard3(folder: Path, dev: Mapping[str, Clip], test: Mapping[str, Clip]) -> list[str]:
    """FLAC, RTTM and UEM as LDC gives them out; only the first recording is in the core partition."""
    for part, clips in (("dev", dev), ("eval", test)):
        data = folder / f"third_dihard_challenge_{part}/data"
        regions = {name: [(0.0, clip.length_s)] for name, clip in clips.items()}
        for name, clip in clips.items():
            write_flac(data / f"flac/{name}.flac", clip.wave_S)
            write_rttm(data / f"rttm/{name}.rttm", name, clip.named(name))
        write_uem(data / "uem_scoring/full/all.uem", regions)
        first = next(iter(clips))
        write_uem(data / "uem_scoring/core/all.uem", {first: regions[first]})
    dev_set, eval_set = (str(folder / f"third_dihard_challenge_{part}") for part in ("dev", "eval"))
    return ["--dev", dev_set, "--eval", eval_set]


def write_msdwild(folder: Path, dev: Mapping[str, Clip], test: Mapping[str, Clip]) -> list[str]:
    """WAV, and one RTTM for each reference; few.train has nine recordings behind each of dev."""
    train: dict[str, Clip] = {}
    for number, (name, clip) in enumerate(dev.items()):
        train |= {name: clip, **{f"{int(name) + more:05d}": hum(number) for more in range(1, 10)}}
    for name, clip in {**train, **test}.items():
        write_flac(folder / f"msdwild_wavs/wav/{name}.wav", clip.wave_S)
    for reference, clips in (
        ("few.train", train),
        ("few.val", test),
        ("many.val", dict(list(test.items())[:1])),
    ):
        turns = [turn for name, clip in clips.items() for turn in clip.named(name)]
        write_rttms(folder / f"rttms/{reference}.rttm", turns)
    return ["--audio", str(folder / "msdwild_wavs"), "--rttms", str(folder / "rttms")]


WRITERS: dict[str, Callable[[Path, Mapping[str, Clip], Mapping[str, Clip]], list[str]]] = {
    "aishell4": write_aishell4,
    "alimeeting": write_alimeeting,
    "callhome": write_callhome,
    "dihard3": write_dihard3,
    "msdwild": write_msdwild,
}


def write_corpus(corpus: str, folder: Path, clips: Callable[[int], Clip] = hum) -> list[str]:
    """A corpus with two recordings of dev and two of test; returns the options of its run.sh."""
    dev, test = NAMES[corpus]
    return WRITERS[corpus](
        folder,
        {name: clips(number) for number, name in enumerate(dev)},
        {name: clips(number + len(dev)) for number, name in enumerate(test)},
    )


def write_textgrid(path: Path, clip: Clip) -> None:
    """A TextGrid by hand, in Praat's long format: a tier for each speaker, with gaps between its turns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    speakers = sorted({turn.speaker for turn in clip.turns})
    text = f'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = {clip.length_s}\n'
    text += f"tiers? <exists>\nsize = {len(speakers)}\nitem []:\n"
    for number, speaker in enumerate(speakers, start=1):
        spans = []
        at = 0.0
        for turn in sorted(turn for turn in clip.turns if turn.speaker == speaker):
            spans += [(at, turn.onset_s, ""), (turn.onset_s, turn.end_s, "你好")]
            at = turn.end_s
        spans = [span for span in [*spans, (at, clip.length_s, "")] if span[1] > span[0]]
        text += f'    item [{number}]:\n        class = "IntervalTier"\n        name = "{speaker}"\n'
        text += f"        xmin = 0\n        xmax = {clip.length_s}\n        intervals: size = {len(spans)}\n"
        for index, (start, end, mark) in enumerate(spans, start=1):
            text += f"        intervals [{index}]:\n            xmin = {start}\n            xmax = {end}\n"
            text += f'            text = "{mark}"\n'
    path.write_text(text, encoding="utf-8")
