"""egs/mini/local/synthesise.py: the synthetic corpus is deterministic, sane, and truthfully annotated."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conversation import converse, speech_stretches, trim
from espeak import Synthesiser, Voice, variants
from sentences import sentence
from synthesise import cast

from sdpn.io.rttm import read_rttm
from sdpn.io.trials import read_trials
from sdpn.io.uem import read_uem

SCRIPT = Path(__file__).resolve().parents[2] / "egs" / "mini" / "local" / "synthesise.py"
RATE_HZ = 16000
SIZES = {
    "--train_speakers": 3,
    "--utterances": 4,
    "--dev_speakers": 2,
    "--dev_utterances": 3,
    "--meetings": 2,
    "--meeting_s": 20,
}


def synthesise(out: Path, *extra: str) -> str:
    sizes = [str(word) for pair in SIZES.items() for word in pair]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(out), *sizes, *extra],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "corpus"
    synthesise(out, "--nj", "2")
    return out


def read(path: Path) -> np.ndarray:
    samples, rate_hz = soundfile.read(path)
    assert rate_hz == RATE_HZ
    assert samples.ndim == 1
    return samples


def frame_power(samples: np.ndarray) -> np.ndarray:
    """Mean power of each 10 ms, (N,)."""
    return np.mean(samples[: len(samples) // 160 * 160].reshape(-1, 160) ** 2, axis=1)


@pytest.mark.slow
def test_same_seed_same_files_whatever_the_processes(corpus: Path, tmp_path: Path) -> None:
    synthesise(tmp_path / "again", "--nj", "1")
    names = sorted(path.relative_to(corpus) for path in corpus.rglob("*") if path.is_file())
    again = sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    assert names == again
    for name in names:
        assert (corpus / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


@pytest.mark.slow
def test_another_seed_gives_other_speech(corpus: Path, tmp_path: Path) -> None:
    synthesise(tmp_path / "other", "--seed", "1")
    meeting = "meetings/meeting00.flac"
    assert (corpus / meeting).read_bytes() != (tmp_path / "other" / meeting).read_bytes()


def test_folders_hold_what_was_asked_for(corpus: Path) -> None:
    train = [path.name for path in (corpus / "train").iterdir()]
    dev = [path.name for path in (corpus / "dev").iterdir()]
    guests = {
        turn.speaker for turns in read_rttm(corpus / "meetings" / "reference.rttm").values() for turn in turns
    }
    assert (len(train), len(dev)) == (3, 2)
    assert len(list((corpus / "train").rglob("*.flac"))) == 3 * 4
    assert len({*train, *dev, *guests}) == len(train) + len(dev) + len(guests)  # nobody is in two of them
    assert len(guests) == 2 + 3  # the first conversation has two speakers, the second three
    assert list((corpus / "noise").rglob("*.flac"))
    assert list((corpus / "rir").rglob("*.flac"))


def test_trials_are_all_pairs_with_the_right_label(corpus: Path) -> None:
    trials = read_trials(corpus / "trials")
    speaker = {path.stem: path.parent.name for path in (corpus / "dev").rglob("*.flac")}
    found = {
        (trials.ids[first], trials.ids[second]): bool(target)
        for first, second, target in zip(trials.first, trials.second, trials.is_target, strict=True)
    }
    expected = {(a, b): speaker[a] == speaker[b] for a, b in itertools.combinations(sorted(speaker), 2)}
    assert {tuple(sorted(pair)): target for pair, target in found.items()} == expected
    assert len(trials) == 6 * 5 // 2


def test_recordings_have_sane_levels_and_lengths(corpus: Path) -> None:
    for path in [*(corpus / "train").rglob("*.flac"), *(corpus / "dev").rglob("*.flac")]:
        samples = read(path)
        assert 1.0 < len(samples) / RATE_HZ < 20.0
        assert -36 < 20 * np.log10(samples.std()) < -20
        assert np.abs(samples).max() < 0.96
        assert abs(samples.mean()) < 0.01


def test_speakers_differ_more_than_their_utterances(corpus: Path) -> None:
    """Long-term spectra alone, through different rooms and microphones, already separate speakers."""
    by_speaker: dict[str, list[np.ndarray]] = {}
    for path in sorted((corpus / "train").rglob("*.flac")):
        samples = read(path)
        frames = np.lib.stride_tricks.sliding_window_view(samples, 400)[::160] * np.hanning(400)
        power = np.abs(np.fft.rfft(frames, 512)) ** 2
        bands = np.log(np.add.reduceat(power, np.unique(np.geomspace(3, 250, 24).astype(int)), axis=1) + 1e-9)
        loud = bands[bands.mean(axis=1) > np.median(bands.mean(axis=1))]
        by_speaker.setdefault(path.parent.name, []).append(loud.mean(axis=0) - loud.mean())
    within = np.mean([np.var(spectra, axis=0) for spectra in by_speaker.values()])
    between = np.var([np.mean(spectra, axis=0) for spectra in by_speaker.values()], axis=0).mean()
    assert between > within


def test_references_match_the_energy_of_the_audio(corpus: Path) -> None:
    reference = read_rttm(corpus / "meetings" / "reference.rttm")
    regions = read_uem(corpus / "meetings" / "reference.uem")
    assert reference.keys() == regions.keys() == {"meeting00", "meeting01"}
    for name, turns in reference.items():
        samples = read(corpus / "meetings" / f"{name}.flac")
        assert regions[name] == [(0.0, len(samples) / RATE_HZ)]
        assert len(samples) == 20 * RATE_HZ
        power = frame_power(samples)
        speech = np.zeros(len(power), bool)
        for turn in turns:
            speech[round(turn.onset_s * 100) : round(turn.end_s * 100)] = True
        assert 0.4 < speech.mean() < 0.98
        assert 10 * np.log10(power[speech].mean() / power[~speech].mean()) > 8
        # nearly all of the energy lies inside the turns: what is outside is noise and the end of echoes
        assert power[speech].sum() / power.sum() > 0.95
        assert np.abs(samples).max() < 0.96
        assert len({turn.speaker for turn in turns}) >= 2


def test_turns_are_exactly_where_the_clean_utterances_were_put() -> None:
    """Bursts of a sine stand for utterances: their lengths are known, and so are the pauses in them."""
    tone = np.sin(2 * np.pi * 300 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
    silence = np.zeros(RATE_HZ // 2, np.float32)
    two_parts = np.concatenate([tone, silence, tone])  # 1 s, a pause of 0.5 s, 1 s
    for seed in range(5):
        rng = np.random.default_rng(seed)
        mix, turns = converse(rng, "talk", {"anna": [tone] * 4, "bob": [two_parts] * 2}, 30.0)
        assert len(mix) == 30 * RATE_HZ
        assert {turn.speaker for turn in turns} == {"anna", "bob"}
        assert all(turn.duration_s == pytest.approx(1.0) for turn in turns)
        bob = sorted(turn.onset_s for turn in turns if turn.speaker == "bob")
        assert bob[1] - bob[0] == pytest.approx(1.5)
        loud = frame_power(mix) > 0.01 * frame_power(mix).max()
        reference = np.zeros(len(loud), bool)
        for turn in turns:
            reference[round(turn.onset_s * 100) : round(turn.end_s * 100)] = True
        assert (loud & ~reference).mean() < 0.05  # the echo that follows a turn
        assert loud[reference].mean() > 0.98
        for speaker in ("anna", "bob"):  # no speaker overlaps with their own turns
            own = [turn for turn in turns if turn.speaker == speaker]
            assert all(a.end_s <= b.onset_s + 1e-9 for a, b in itertools.pairwise(own))


def test_stretches_of_silence_and_speech() -> None:
    rng = np.random.default_rng(0)
    burst = rng.standard_normal(RATE_HZ).astype(np.float32)
    gap = np.zeros(RATE_HZ, np.float32)
    assert speech_stretches(gap) == []
    assert speech_stretches(np.concatenate([gap, burst, gap])) == [(1.0, 2.0)]
    short = np.zeros(round(0.2 * RATE_HZ), np.float32)
    assert speech_stretches(np.concatenate([burst, short, burst])) == [(0.0, 2.2)]
    assert len(trim(np.concatenate([gap, burst, gap]))) == RATE_HZ
    assert len(trim(gap)) == 0


def test_every_variant_is_audible_and_unlike_the_others() -> None:
    synthesiser = Synthesiser()
    distinct = set()
    for variant in variants():
        samples = synthesiser.speak("The river was high this morning.", Voice(variant=variant))
        assert 0.8 < len(samples) / RATE_HZ < 6.0, variant
        assert 20 * np.log10(samples.std()) > -45, variant
        assert np.abs(samples).max() < 0.999, variant
        distinct.add(samples.tobytes())
    assert len(distinct) == len(variants()) > 80


def test_unknown_voice_is_refused() -> None:
    synthesiser = Synthesiser()
    with pytest.raises(ValueError, match=r"no voice 'en-us\+nobody'"):
        synthesiser.speak("hello", Voice(variant="nobody"))
    with pytest.raises(ValueError, match=r"no voice 'tlh-us\+f1'"):
        synthesiser.speak("hello", Voice(variant="f1", accent="tlh-us"))


def test_the_cast_is_disjoint_and_continues_when_voices_run_out() -> None:
    dev, guests, train = cast(0, num_train=200, num_dev=10, num_meetings=15)
    assert (len(dev), len(guests), len(train)) == (10, 15, 200)
    assert len({name for name, _ in dev + guests + train}) == 225
    held_out = {voice.variant for _, voice in dev + guests}
    assert len(held_out) == 25
    assert not held_out & {voice.variant for _, voice in train}


def test_too_many_unseen_speakers_is_one_clear_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(tmp_path / "out"), "--dev_speakers", "500"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("synthesise.py: error: 518 unseen speakers are requested")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_sentences_vary() -> None:
    rng = np.random.default_rng(0)
    texts = [sentence(rng) for _ in range(300)]
    assert len(set(texts)) > 280
    assert all(text[0].isupper() and text[-1] in ".?" and "{" not in text for text in texts)
    assert 6 < np.mean([len(text.split()) for text in texts]) < 20
