"""A corpus with the layout and file names of VoxCeleb1 and 2, trial lists, MUSAN and RIRS, of noise."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import lfilter

from tests.io.encoding import encode

VOX1 = {"dev": ("id10001", "id10002", "id10003"), "test": ("id10270", "id10271")}
VOX2 = ("id00012", "id00015", "id00016", "id00018")
VIDEOS = ("-2v-xY_z012", "21Uxsk56VDQ")


def write_voxceleb(folder: Path) -> Path:
    """Write vox1, vox2, trials, musan and RIRS_NOISES; a speaker has 2 videos of 2 utterances of 1.25 s."""
    rng = np.random.default_rng(0)

    def voice(number: int) -> np.ndarray:
        poles = np.array([0.95, 0.9, 0.6]) * np.exp(
            1j * np.pi * np.array([0.05 + 0.05 * number, 0.3 + 0.06 * number, rng.uniform(0.1, 0.9)])
        )
        wave = lfilter([1.0], np.poly(np.concatenate([poles, poles.conj()])).real, rng.standard_normal(20000))
        return (0.2 * wave / np.abs(wave).max()).astype(np.float32)

    names: dict[str, list[str]] = {}
    places = [(f"vox1/{part}/wav", speaker) for part, speakers in VOX1.items() for speaker in speakers]
    places += [("vox2/dev/aac", speaker) for speaker in VOX2]
    for number, (place, speaker) in enumerate(places):
        for video in VIDEOS:
            for clip in ("00001", "00023"):
                suffix = "m4a" if place.endswith("aac") else "wav"
                path = folder / place / speaker / video / f"{clip}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                if suffix == "m4a":
                    encode(path, "aac", voice(number)[None], 16000, container="ipod")
                else:
                    soundfile.write(path, voice(number), 16000)
                names.setdefault(place, []).append(f"{speaker}/{video}/{clip}.wav")
    every = names["vox1/dev/wav"] + names["vox1/test/wav"]
    lists = {"veri_test2": names["vox1/test/wav"], "list_test_all2": every, "list_test_hard2": every[:12]}
    (folder / "trials").mkdir()
    for name, used in lists.items():
        lines = [f"{int(one[:7] == other[:7])} {one} {other}\n" for one, other in combinations(used, 2)]
        (folder / "trials" / f"{name}.txt").write_text("".join(lines))
    for name in (
        "musan/noise/free-sound/noise-0000",
        "musan/music/fma/music-0000",
        "musan/speech/us-gov/speech-0",
    ):
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, 0.1 * rng.standard_normal(32000), 16000)
    room = folder / "RIRS_NOISES/simulated_rirs/smallroom/Room001/Room001-00001.wav"
    room.parent.mkdir(parents=True)
    soundfile.write(room, 0.5 * np.exp(-np.arange(4000) / 400) * rng.standard_normal(4000), 16000)
    return folder
