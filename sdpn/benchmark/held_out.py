"""What training leaves out so that the benchmark is of unseen speakers, noises and rooms.

Noises and rooms are held out by a rule, so that it holds for any corpus: files of one origin, whose names are
the same up to the first hyphen, go to one side. In ESC-10 that is a fold (``4-149294-A``; takes of one
recording are in one fold), in a set of room responses the place of the source (``cinema-hallway``). A quarter
of the origins is the benchmark's: of ESC-10 the fourth fold, of web-audio-samples' house the cinema.

Speakers of LibriSpeech are held out by a list: those with many utterances in the excerpt
``librispeech_excerpt/more`` that the recipes with a teacher held out before there was a benchmark.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePath

#: Decides on the quarter; the number was chosen so that ESC-10 and the house each lose one origin.
_SALT = "benchmark 12"

LIBRISPEECH_SPEAKERS = frozenset({"32", "118", "1737", "1898", "1970", "3664", "5789", "8629"})


def is_held_out_sound(path: PurePath | str) -> bool:
    """Whether a noise or a room response is the benchmark's, by its name alone.

    Args:
        path: its file; folders and suffix do not matter.
    """
    origin = PurePath(path).stem.partition("-")[0]
    return hashlib.sha256(f"{_SALT} {origin}".encode()).digest()[0] < 64


def is_held_out_speaker(corpus: PurePath, speaker: str) -> bool:
    """Whether a speaker's folder is the benchmark's.

    Args:
        corpus: folder of the corpus; the list is of LibriSpeech's numbers, which mean other people elsewhere.
        speaker: name of the speaker's folder.
    """
    is_librispeech = any("librispeech" in part.lower() for part in corpus.parts)
    return is_librispeech and speaker in LIBRISPEECH_SPEAKERS
