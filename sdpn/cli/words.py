"""``sdpn words``: speakers for the words of a speech recogniser."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdpn.io.atomic import OutputKind

DESCRIPTION = """\
Attach speakers to the words of a speech recogniser, from the turns of 'sdpn diarize'.

--asr is the JSON of whisper, whisperX, faster-whisper, whisper.cpp or NeMo, or SRT or WebVTT; any recogniser
will do that writes the times of words. Where only segments have times, their words share them, which is
worse where the speaker changes within a segment. --turns is the JSON document of the same recording, whose
turns have a confidence, or RTTM.

A word belongs to the speaker whose turns have most of it. Words whose speaker is less probable than
--min-confidence get none ('?', null in JSON): where turns are unsure, at changes of speaker, under two
speakers at once, away from all turns. A transcript of another recording is refused, as far as that can be
told: it ends later, or its words lie where nobody speaks.
"""

EXAMPLE = """\
  sdpn diarize --format json --out out/ meeting.wav
  whisper --word_timestamps True --output_format json meeting.wav
  sdpn words --asr meeting.json --turns out/meeting.json --out out/
  sdpn words --asr meeting.srt --turns out/meeting.rttm --out out/ --format srt,txt
  sdpn words --asr meeting.json --turns out/meeting.json --out out/ --min-confidence 0
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn words``."""
    parser.add_argument(
        "--asr", type=Path, required=True, metavar="FILE", help="the words: JSON, SRT or WebVTT"
    )
    parser.add_argument(
        "--turns", type=Path, required=True, metavar="FILE", help="the turns: JSON of 'sdpn diarize', or RTTM"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="writes DIR/<recording>.words.json and so on"
    )
    parser.add_argument(
        "--format",
        dest="word_formats",
        type=lambda text: tuple(text.split(",")),
        default=("json", "txt"),
        metavar="F,F,...",
        help="formats to write: json, txt, csv, srt, vtt, stm (for scoring) (default: json,txt)",
    )
    parser.add_argument(
        "--min-confidence",
        type=float,
        default=0.5,
        metavar="P",
        help="words whose speaker is less probable get none; with 0 every word near a turn has one "
        "(default: 0.5)",
    )
    parser.add_argument(
        "--times", choices=("s", "ms"), default="s", help="unit of the times in JSON (default: s)"
    )
    parser.add_argument(
        "--recording", metavar="NAME", help="the recording, where --turns is RTTM with several of them"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Attach, write, print.

    Raises:
        InputError: as `sdpn.words.speakers_of_words.speakers_of_words`.
    """
    from sdpn.words.speakers_of_words import WordOptions, speakers_of_words

    options = WordOptions(
        times=args.times,
        recording=args.recording,
        least_confidence=args.min_confidence,
        formats=args.word_formats,
    )
    done = speakers_of_words(args.asr, args.turns, args.out, options)
    num = done["num_words"]
    print(f"{done['recording']}: {num} words, {done['unsure']} of them without a speaker")
    width = max(map(len, done["words_of"]), default=0)
    for speaker, count in done["words_of"].items():
        print(f"  {speaker:<{width}}  {count:>6}  {100 * count / num:5.1f} %")
    print(", ".join(done["files"].values()))
    return done
