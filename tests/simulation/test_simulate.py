"""Simulation from a corpus of tones: what is written, that the reference is where the energy is, and that the
manifest gives the same samples again.

A speaker is a tone of its own frequency, in bursts; each burst is a stretch of speech.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.errors import InputError
from sdpn.io.kaldi import read_data_dir
from sdpn.io.rttm import read_rttm
from sdpn.io.uem import read_uem
from sdpn.simulation.manifest import Conversation, SimulatedRoom, SourceFile, read_manifest, write_manifest
from sdpn.simulation.simulate import (
    SimulationConfig,
    _casts,
    find_phrases,
    plan,
    render,
    split_at_dips,
)
from sdpn.simulation.sources import Folders, check_sources
from sdpn.simulation.turn_statistics import voxconverse

RATE_HZ = 16000
NUM_SPEAKERS = 7


def quietly(items: Iterable, *, description: str, total: int) -> Iterable:
    assert description
    assert total > 0
    return items


def bursts(samples: np.ndarray) -> list[tuple[float, float]]:
    """Where the tones are: frames of 10 ms above -60 dB, in stretches."""
    loud = np.max(np.abs(samples[: len(samples) // 160 * 160].reshape(-1, 160)), axis=1) > 1e-3
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(int), [0]])))
    return [(start / 100, end / 100) for start, end in edges.reshape(-1, 2)]


def frequency_hz(speaker: int) -> float:
    return 300.0 + 200.0 * speaker


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for speaker in range(NUM_SPEAKERS):
        for utterance in range(12):
            parts = [np.zeros(4800)]
            for _ in range(rng.integers(1, 4)):
                time_s = np.arange(round(rng.uniform(0.4, 2.0) * 100) * 160) / RATE_HZ
                parts += [np.sin(2 * np.pi * frequency_hz(speaker) * time_s), np.zeros(3200)]
            path = root / "tones" / f"s{speaker}" / f"{utterance}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.uniform(0.02, 0.5) * np.concatenate(parts), RATE_HZ)
    soundfile.write(root / "tones" / "s0" / "silence.flac", np.zeros(16000), RATE_HZ)
    for name in (
        "noise/rain/a.flac",
        "noise/rain/b.flac",
        "noise/wind/c.flac",
        "rir/hall.flac",
        "rir/den.flac",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        decay = np.exp(-np.arange(16000) / 800) if name.startswith("rir") else 1.0
        soundfile.write(root / name, 0.2 * rng.standard_normal(16000) * decay, RATE_HZ)
    return Folders(corpora=[root / "tones"], rir=root / "rir", noise=root / "noise")


CONFIG = SimulationConfig(num=4, seed=1, duration_s=40.0, max_speakers=4)


def planned(folders: Folders, **changes: object) -> list[Conversation]:
    config = replace(CONFIG, **changes)  # type: ignore[arg-type]
    return plan(config, voxconverse(), folders, bursts, jobs=1, progress=quietly)


@pytest.fixture(scope="module")
def simulation(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Conversation]]:
    out = tmp_path_factory.mktemp("simulation")
    done = render(planned(folders), folders, out, jobs=1, progress=quietly)
    write_manifest(out / "manifest.jsonl", done)
    return out, done


def test_what_is_written(simulation: tuple[Path, list[Conversation]]) -> None:
    out, done = simulation
    assert [utterance.id for utterance in read_data_dir(out)] == ["sim0", "sim1", "sim2", "sim3"]
    assert read_uem(out / "reference.uem") == {f"sim{n}": [(0.0, 40.0)] for n in range(4)}
    reference = read_rttm(out / "reference.rttm")
    for conversation in done:
        header = soundfile.info(out / f"{conversation.recording}.flac")
        assert (header.samplerate, header.channels, header.subtype) == (RATE_HZ, 1, "PCM_16")
        assert header.frames == 40 * RATE_HZ
        speakers = {speaker.id for speaker in conversation.speakers}
        assert {turn.speaker for turn in reference[conversation.recording]} == speakers
    assert sorted(len(each.speakers) for each in done) == [2, 2, 3, 4]


def test_half_of_them_have_room_and_noise(simulation: tuple[Path, list[Conversation]]) -> None:
    _, done = simulation
    rooms = [all(isinstance(speaker.room, SourceFile) for speaker in each.speakers) for each in done]
    assert sum(rooms) == 2
    assert [each.noise is not None for each in done] == rooms
    assert all(len({Path(clip.path).parent for clip in each.noise.clips}) == 1 for each in done if each.noise)
    assert [any(speaker.room for speaker in each.speakers) for each in done] == rooms


def test_the_reference_is_where_the_energy_is(folders: Folders, tmp_path: Path) -> None:
    """Each speaker is a band of its own: there, energy and reference agree within a frame or two."""
    (done,) = render(
        planned(folders, num=1, min_speakers=4, room_share=0.0, noise_share=0.0, level_spread_db=0.0),
        folders,
        tmp_path,
        jobs=1,
        progress=quietly,
    )
    samples, _ = soundfile.read(tmp_path / "sim0.flac")
    frames = np.lib.stride_tricks.sliding_window_view(samples, 640)[::160] * np.hanning(640)
    time_s = (np.arange(len(frames)) * 160 + 320) / RATE_HZ
    for speaker in done.speakers:
        tone_hz = frequency_hz(int(speaker.id[-1]))
        level = np.abs(frames @ np.exp(-2j * np.pi * tone_hz * np.arange(640) / RATE_HZ))
        loud = level > 0.3 * np.quantile(level[level > 0.2 * level.max()], 0.5)
        turns = [turn for turn in done.turns() if turn.speaker == speaker.id]
        inside = np.zeros(len(time_s), dtype=bool)
        near = np.zeros(len(time_s), dtype=bool)
        for turn in turns:
            inside |= (time_s > turn.onset_s) & (time_s < turn.end_s)
            near |= (time_s > turn.onset_s - 0.03) & (time_s < turn.end_s + 0.03)
        assert not np.any(loud & ~near), speaker.id
        # silences of up to 0.25 s are inside of turns
        assert np.mean(loud[inside]) > 0.75, speaker.id


def test_the_manifest_gives_the_same_files(
    folders: Folders, simulation: tuple[Path, list[Conversation]], tmp_path: Path
) -> None:
    out, done = simulation
    conversations = read_manifest(out / "manifest.jsonl")
    assert conversations == done
    again = render(conversations, folders, tmp_path, jobs=2, progress=quietly)
    assert again == done
    for name in (
        "sim0.flac",
        "sim1.flac",
        "sim2.flac",
        "sim3.flac",
        "reference.rttm",
        "reference.uem",
        "wav.scp",
    ):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name


def test_same_seed_same_plan(folders: Folders) -> None:
    assert planned(folders) == planned(folders)
    assert planned(folders) != planned(folders, seed=2)


def test_levels(folders: Folders) -> None:
    """A speaker's utterances are equally loud, whatever their recordings were; speakers differ as asked."""

    def spread_db(level_spread_db: float) -> tuple[float, float]:
        within, between = [], []
        for each in planned(folders, num=12, level_spread_db=level_spread_db, level_db=(-30.0, -30.0)):
            levels: dict[int, list[float]] = {}
            gains = {phrase.utterance: phrase.gain_db for phrase in each.phrases}
            for number, utterance in enumerate(each.utterances):
                samples, _ = soundfile.read(folders.corpora[0] / utterance.file.path)
                spoken = samples[np.abs(samples) > 0]
                level_db = 10 * np.log10(np.mean(spoken**2)) + gains[number]
                levels.setdefault(utterance.speaker, []).append(level_db)
            within += [level - np.mean(own) for own in levels.values() for level in own]
            between += [float(np.mean(own)) + 30.0 for own in levels.values()]
        return float(np.std(within)), float(np.std(between))

    within, between = spread_db(0.0)
    assert within == pytest.approx(1.0, abs=0.3)
    assert between < 1.0
    assert spread_db(6.0)[1] == pytest.approx(6.0, abs=1.5)


def test_everyone_takes_part_before_anyone_twice() -> None:
    names = [f"s{number:02d}" for number in range(20)]
    config = SimulationConfig(num=25, seed=0, min_speakers=2, max_speakers=6)
    casts = _casts(config, names)
    assert Counter(map(len, casts)) == {2: 5, 3: 5, 4: 5, 5: 5, 6: 5}
    assert all(len(set(cast)) == len(cast) for cast in casts)
    uses = Counter(name for cast in casts for name in cast)
    assert set(uses) == set(names)
    assert max(uses.values()) - min(uses.values()) <= 2


def test_speech_is_split_where_it_is_quiet() -> None:
    """Noise with a dip of 26 dB and 50 ms in the middle, and one of 12 dB elsewhere."""
    samples = np.random.default_rng(0).standard_normal(2 * RATE_HZ)
    samples[16000:16800] *= 0.05
    samples[8000:8800] *= 0.25
    (cut,) = split_at_dips(samples)
    assert 16000 <= cut <= 16800
    assert split_at_dips(samples[15000:]) == []  # too near to the start
    assert split_at_dips(samples[:100]) == []
    speech = find_phrases(samples, SourceFile("a.wav", ""), lambda _: [(0.0, 2.0)])
    assert speech is not None
    assert speech.phrases == ((0, cut), (cut, 32000))
    assert speech.power == pytest.approx(np.mean(samples**2))


def test_silent_utterances_are_left_out(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        conversations = planned(folders, num=8, duration_s=60.0)
    assert "skipped 1 utterances without speech" in caplog.text
    used = {utterance.file.path for each in conversations for utterance in each.utterances}
    assert "s0/silence.flac" not in used
    assert any(path.startswith("s0/") for path in used)


def test_a_speaker_without_speech(tmp_path: Path) -> None:
    (tmp_path / "mute").mkdir()
    soundfile.write(tmp_path / "mute" / "a.wav", np.zeros(8000), RATE_HZ)
    with pytest.raises(InputError, match=r"no speech found in the 1 utterances of speaker .*-mute"):
        planned(Folders(corpora=[tmp_path]), num=1, min_speakers=1, max_speakers=1)


def test_too_few_speakers(folders: Folders) -> None:
    with pytest.raises(InputError, match="the corpora have 7 speakers, too few for conversations of 8"):
        planned(folders, max_speakers=8)


def test_an_unreadable_utterance_is_named(tmp_path: Path) -> None:
    for speaker in ("a", "b"):
        (tmp_path / speaker).mkdir()
        (tmp_path / speaker / "utterance.wav").write_bytes(b"RIFF of nothing")
    with pytest.raises(InputError, match=r"/utterance\.wav: is not readable audio"):
        planned(Folders(corpora=[tmp_path]), max_speakers=2)


def test_simulated_rooms_without_measured_ones(folders: Folders) -> None:
    first = planned(replace(folders, rir=None), room_share=1.0)[0]
    rooms = [speaker.room for speaker in first.speakers]
    assert all(isinstance(room, SimulatedRoom) for room in rooms)
    assert len({room.rt60_s for room in rooms if isinstance(room, SimulatedRoom)}) == 1  # one room,
    assert len(set(rooms)) == len(rooms)  # different places


def test_sources_that_changed(
    folders: Folders, simulation: tuple[Path, list[Conversation]], tmp_path: Path
) -> None:
    out, done = simulation
    manifest = out / "manifest.jsonl"
    check_sources(done, folders, manifest)
    check_sources(done, replace(folders, corpora=[tmp_path, *folders.corpora]), manifest)

    line = next(number for number, each in enumerate(done, start=1) if each.noise)
    for option, kind in (("rir", "room"), ("noise", "noise")):
        with pytest.raises(
            InputError, match=f"{kind} .* is needed: give its folder with --{option}"
        ) as caught:
            check_sources(done, replace(folders, **{option: None}), manifest)
        assert (caught.value.path, caught.value.line) == (str(manifest), line)

    moved = replace(folders, corpora=[tmp_path])
    last = done[-1].utterances[-1].file.path
    for source in {utterance.file for each in done for utterance in each.utterances}:
        (tmp_path / source.path).parent.mkdir(exist_ok=True)
        if source.path != last:
            (tmp_path / source.path).symlink_to(folders.corpora[0] / source.path)
    first_line = next(
        number
        for number, each in enumerate(done, start=1)
        if last in [utterance.file.path for utterance in each.utterances]
    )
    with pytest.raises(InputError, match=f"utterance '{last}' is missing") as caught:
        check_sources(done, moved, manifest)
    assert caught.value.line == first_line
    soundfile.write(tmp_path / last, np.zeros(16000), RATE_HZ)
    with pytest.raises(InputError, match=f"utterance '{last}' is not the original one") as caught:
        check_sources(done, moved, manifest)
    assert caught.value.line == first_line


def test_two_corpora_with_the_same_paths(folders: Folders, tmp_path: Path) -> None:
    """The hash identifies the corpus of an utterance, in whatever order they are given."""
    other = tmp_path / "other"
    for speaker in range(NUM_SPEAKERS):
        (other / f"s{speaker}").mkdir(parents=True)
        for utterance in range(12):
            noise = 0.1 * np.random.default_rng([speaker, utterance]).standard_normal(24000)
            soundfile.write(other / f"s{speaker}" / f"{utterance}.flac", noise, RATE_HZ)
    both = replace(folders, corpora=[folders.corpora[0], other])
    conversations = planned(both, num=3, min_speakers=4)
    assert {speaker.id.split("-")[0] for each in conversations for speaker in each.speakers} == {
        "tones",
        "other",
    }
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = render(conversations, both, tmp_path / "one", jobs=1, progress=quietly)
    turned = replace(both, corpora=both.corpora[::-1])
    check_sources(conversations, turned, tmp_path / "manifest.jsonl")
    assert render(conversations, turned, tmp_path / "two", jobs=1, progress=quietly) == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num": 0}, "the number of conversations is 0"),
        ({"seed": -1}, "the seed is -1"),
        ({"duration_s": float("nan")}, "the duration in seconds is nan"),
        ({"min_speakers": 0}, "the minimum number of speakers is 0"),
        ({"max_speakers": 1}, "the maximum number of speakers is 1; expected 2 to 100"),
        ({"room_share": 1.5}, "the share of rooms is 1.5; expected 0 to 1"),
        ({"noise_snr_db": (10.0, 5.0)}, "the upper signal-to-noise ratio in dB is 5; expected 10 to 100"),
    ],
)
def test_settings_out_of_range(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **change)  # type: ignore[arg-type]


def test_the_projects_dev_conversations() -> None:
    """The committed manifest: 24 conversations of 3 minutes, 2 to 6 speakers, half with room and noise."""
    path = Path(__file__).resolve().parents[2] / "egs" / "mini" / "conf" / "dev_conversations.jsonl"
    conversations = read_manifest(path)
    assert len(conversations) == 24
    assert {each.duration_s for each in conversations} == {180.0}
    assert {len(each.speakers) for each in conversations} == {2, 3, 4, 5, 6}
    assert all(
        {turn.speaker for turn in each.turns()} == {s.id for s in each.speakers} for each in conversations
    )
    assert sum(all(speaker.room for speaker in each.speakers) for each in conversations) == 12
    assert all((each.noise is not None) == bool(each.speakers[0].room) for each in conversations)
    assert all(each.sha256 and len(each.sketch or ()) == 180 for each in conversations)
    assert path.stat().st_size < 1_000_000
    assert all(json.loads(line)["format"] == 2 for line in path.read_text(encoding="utf-8").splitlines())
