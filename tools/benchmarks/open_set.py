"""Open-set identification: half of the speakers are known by two clips each, the others are strangers.

python tools/benchmarks/open_set.py --data shared/data --model small --back-end sdpn/pretrained/small
python tools/benchmarks/open_set.py --data shared/data --model campplus --back-end campplus.safetensors

Every other clip of everybody is a test, as it is and in noise at 10 dB; people are enrolled with clean clips.
The miss rate (a known person gets no name, or another one's) and the rate of strangers who get a name, at the
stated rate of false alarms, and with the threshold at which exactly that share of the strangers got one.
Averages of ten splits of the speakers, with 95 % intervals over speakers. Embeddings are kept in --cache.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

import sdpn
from sdpn.augmentation.conditions import noise_at
from sdpn.diarization.pipeline import PipelineConfig
from sdpn.diarization.vad import detect_speech
from sdpn.io import audio
from sdpn.io.corpus import find_audio
from sdpn.metrics.bootstrap import bootstrap_interval
from sdpn.people.identify import KnownPeople
from sdpn.people.voiceprint import EnrolledRecording, RecordingConditions, Voiceprint
from sdpn.people.voices import embed_voices
from sdpn.verification.back_end import BackEnd
from sdpn.verification.storage import read_back_end

SNR_DB = 10.0
SPLITS = 10


def main() -> None:
    """Print a row for each corpus and condition."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--corpora", nargs="+", default=["speechocean762/dev", "commonvoice/dev"])
    parser.add_argument("--model", default="small")
    parser.add_argument("--format")
    parser.add_argument("--back-end", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("open_set"))
    parser.add_argument("--clips", type=int, default=6, help="of a speaker, drawn at random")
    parser.add_argument("--false-alarms", type=float, default=0.01)
    args = parser.parse_args()
    back_end = read_back_end(args.back_end)
    print("corpus, tests, miss % / strangers named %: at the stated rate; at the true rate of strangers")
    for corpus in args.corpora:
        files = {condition: embeddings(args, corpus, condition) for condition in ("as recorded", "in noise")}
        for condition, tests in files.items():
            print(
                corpus, condition, row(files["as recorded"], tests, back_end, args.false_alarms), flush=True
            )


def embeddings(args: argparse.Namespace, corpus: str, condition: str) -> dict[str, dict[str, np.ndarray]]:
    """Embedding by clip by speaker."""
    name = f"{args.model.replace('/', '-')}.{corpus.replace('/', '-')}.{condition.replace(' ', '-')}.npz"
    if not (args.cache / name).is_file():
        args.cache.mkdir(parents=True, exist_ok=True)
        model = sdpn.load_model(args.model, args.format)
        noises = [audio.read(path) for path in sorted(find_audio(args.data / "noise/esc10"))[::4]]
        degrade, rng = noise_at(noises, (SNR_DB, SNR_DB)), np.random.default_rng(0)
        drawn = np.random.default_rng(1)  # the same clips in every condition
        found = {}
        for speaker in sorted(path for path in (args.data / corpus).iterdir() if path.is_dir()):
            clips = sorted(find_audio(speaker))
            for clip in (clips[index] for index in drawn.permutation(len(clips))[: args.clips]):
                wave = audio.read(clip)
                wave = degrade(wave, rng) if condition == "in noise" else wave
                spans = [(one.start_s, one.end_s) for one in detect_speech(wave, PipelineConfig().vad)]
                if sum(end - start for start, end in spans) >= 0.5:
                    voices = embed_voices(model, (wave, audio.RATE_HZ), {"": spans})
                    found[f"{speaker.name} {clip.stem}"] = voices[""]
        np.savez(args.cache / name, **found)  # type: ignore[arg-type]
    of_speakers: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    with np.load(args.cache / name) as stored:
        for key in stored.files:
            speaker, _, clip = key.partition(" ")
            of_speakers[speaker][clip] = stored[key]
    return {speaker: clips for speaker, clips in of_speakers.items() if len(clips) >= 3}


def row(
    clean: dict[str, dict[str, np.ndarray]],
    tests: dict[str, dict[str, np.ndarray]],
    back_end: BackEnd,
    false_alarms: float,
) -> str:
    """Averages of the splits, as text."""
    speakers = sorted(clean)
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(speakers)))
    num_tests = [0, 0]
    for split in range(SPLITS):
        order = np.random.default_rng(split).permutation(len(speakers))
        known = [speakers[index] for index in order[: len(order) // 2]]
        people = KnownPeople(
            [voiceprint(name, list(clean[name].values())[:2]) for name in known],
            back_end,
            false_alarms=false_alarms,
        )
        voices, of_voice = {}, {}
        for number, name in enumerate(speakers):
            enrolled = list(clean[name])[:2]
            for clip, emb_D in tests.get(name, {}).items():
                if clip not in enrolled:
                    voices[f"{name} {clip}"], of_voice[f"{name} {clip}"] = emb_D, number
        found = people.identify(voices)
        strangers = [found[key].score for key in voices if speakers[of_voice[key]] not in known]
        exact = float(np.quantile(strangers, 1 - false_alarms))
        num_tests[0] += len(voices) - len(strangers)
        num_tests[1] += len(strangers)
        for key, number in of_voice.items():
            is_known, right = speakers[number] in known, found[key].nearest == speakers[number]
            for kind, threshold in (("stated", people.threshold), ("exact", exact)):
                accepted = found[key].score >= threshold
                wrong = not (accepted and right) if is_known else accepted
                counts[f"{kind} {'miss' if is_known else 'alarm'}"][number] += wrong
            counts["known" if is_known else "stranger"][number] += 1
    parts = [
        rate(counts[f"{kind} {what}"], counts["known" if what == "miss" else "stranger"])
        for kind in ("stated", "exact")
        for what in ("miss", "alarm")
    ]
    tests_of = f"{num_tests[0] // SPLITS}+{num_tests[1] // SPLITS}"
    return f"{tests_of}  {parts[0]} / {parts[1]}  {parts[2]} / {parts[3]}"


def voiceprint(name: str, rows: list[np.ndarray]) -> Voiceprint:
    """A person with recordings of unknown origin."""
    unknown = RecordingConditions(snr_db=None, bandwidth_hz=8000.0)
    return Voiceprint(
        name=name,
        model="",
        made_with={},
        recordings=[
            EnrolledRecording(
                audio="", sha256="", channel=None, speech_s=3.0, conditions=unknown, embedding_D=emb_D
            )
            for emb_D in rows
        ],
    )


def rate(errors: np.ndarray, totals: np.ndarray) -> str:
    """Per cent with an interval over speakers."""
    heard = totals > 0
    interval = bootstrap_interval(errors[heard], totals[heard], resamples=2000)
    assert interval is not None
    return f"{100 * errors.sum() / totals.sum():.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


if __name__ == "__main__":
    main()
