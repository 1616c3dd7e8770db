"""The data directories behind the probe tables of docs/explain.md: voices, languages, and phones.

python tools/explain_corpora.py --shared shared/data --out exp/explain/data

    OUT/voices      speakers of speechocean762/dev: speaker, gender, age group, duration; channel and SNR of
    copies OUT/languages   clips of Common Voice in ten languages, one of each speaker
    OUT/phones      espeak-ng voices, whose phones and words are known to the sample
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import soundfile

from sdpn.io.atomic import atomic_directory
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance, write_data_dir

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "egs" / "mini" / "local"))

#: Utterances of a speaker, speakers of a language, languages, voices and sentences of each.
_EACH, _SPEAKERS, _LANGUAGES, _VOICES, _SENTENCES = 7, 40, 10, 40, 6


def main() -> None:
    """Write the three data directories."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, help="folder with speechocean762/ and commonvoice/")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.shared is not None:
        write_voices(args.shared / "speechocean762", args.out / "voices")
        write_languages(args.shared / "commonvoice" / "train", args.out / "languages")
    write_phones(args.out / "phones")


def write_voices(corpus: Path, out: Path) -> None:
    """Speakers with gender and age."""
    rng = np.random.default_rng(0)
    utterances = []
    for speaker in sorted((corpus / "dev").iterdir()):
        files = sorted(speaker.glob("*.opus"))
        chosen = sorted(rng.choice(len(files), min(_EACH, len(files)), replace=False))
        utterances += [Utterance(files[index].stem, files[index], speaker=speaker.name) for index in chosen]
    with atomic_directory(out) as folder:
        write_data_dir(folder, utterances)
        for table in ("spk2gender", "spk2age"):
            (folder / table).write_text((corpus / table).read_text())


def write_languages(corpus: Path, out: Path) -> None:
    """One clip of each of some speakers of every language that has enough."""
    rng = np.random.default_rng(0)
    by_language: dict[str, list[Path]] = {}
    for speaker in sorted(corpus.iterdir()):
        by_language.setdefault(speaker.name.partition("-")[0], []).append(speaker)
    most = sorted(by_language, key=lambda name: (-len(by_language[name]), name))[:_LANGUAGES]
    utterances, languages = [], []
    for language in sorted(most):
        chosen = rng.choice(len(by_language[language]), _SPEAKERS, replace=False)
        for speaker in (by_language[language][index] for index in sorted(chosen)):
            clip = min(speaker.iterdir())
            name = f"{speaker.name}-{clip.stem}"
            utterances.append(Utterance(name, clip, speaker=speaker.name))
            languages.append(f"{name} {language}\n")
    with atomic_directory(out) as folder:
        write_data_dir(folder, utterances)
        (folder / "utt2lang").write_text("".join(languages))


def write_phones(out: Path, num_voices: int = _VOICES, num_sentences: int = _SENTENCES) -> None:
    """Sentences of espeak-ng voices with ``phones.ctm`` and ``words.ctm``."""
    from espeak import Synthesiser, Voice, variants
    from sentences import sentence

    rng = np.random.default_rng(0)
    synthesiser = Synthesiser()
    names = [str(name) for name in rng.permutation(variants())[:num_voices]]
    lines: dict[str, list[str]] = {"phones": [], "words": []}
    with atomic_directory(out) as folder:
        utterances = []
        for name in names:
            voice = Voice(variant=name, pitch=int(rng.integers(30, 71)))
            speaker = name.lower().replace(" ", "_")
            for number in range(num_sentences):
                spoken = synthesiser.speak_aligned(sentence(rng), voice)
                key = f"{speaker}-{number}"
                soundfile.write(folder / f"{key}.flac", spoken.wave, RATE_HZ)
                utterances.append(Utterance(key, folder / f"{key}.flac", speaker=speaker))
                for kind, tokens in (("phones", spoken.phones), ("words", spoken.words)):
                    lines[kind] += [
                        f"{key} 1 {one.start_s:.4f} {one.end_s - one.start_s:.4f} {one.token}\n"
                        for one in tokens
                    ]
        write_data_dir(folder, utterances)
        # the folder is renamed when it is whole
        scp = folder / "wav.scp"
        scp.write_text("".join(f"{one.id} {out.resolve() / one.path.name}\n" for one in utterances))
        for kind, each in lines.items():
            (folder / f"{kind}.ctm").write_text("".join(each))


if __name__ == "__main__":
    main()
