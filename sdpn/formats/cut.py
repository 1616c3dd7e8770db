"""Audio of each speaker and of each turn, sample for sample as the recording has it."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from sdpn.errors import InputError
from sdpn.formats.names import as_file_name, fitting_names
from sdpn.formats.who_spoke_when import WhoSpokeWhen
from sdpn.io.atomic import atomic_directory
from sdpn.io.decoder_choice import open_decoder
from sdpn.io.decoding import Decoder, TruncatedAudio
from sdpn.io.rttm import Turn, rounded

#: The table of the files, which is written last.
INDEX = "turns.csv"


class _Piece(NamedTuple):
    """A turn in frames of the recording, and the files that it goes to."""

    start: int
    end: int
    turn: Turn
    name: str
    of_speaker: str


def cut_audio(folder: Path, spoken: WhoSpokeWhen) -> None:
    """Write WAV files of a recording's turns and speakers.

    ``speakers/<speaker>.wav`` holds the speaker's turns one after another, ``turns/<number>.<speaker>.wav``
    each of them, and ``turns.csv`` says when they were. They have the recording's rate and channels (with
    one channel diarized for itself, that channel), and its very samples: integers stay integers of the same
    size, and what a lossy codec decodes to is written as float. Turns that touch share no sample and leave
    none out. The recording is read once.

    Args:
        folder: what is written, whole or not at all, in place of an older one.
        spoken: the turns, and the file.

    Raises:
        InputError: there is no file (standard input), it cannot be read again, or the folder cannot be
            written.
    """
    if spoken.audio is None:
        raise InputError(
            "--cut reads a recording twice, and standard input can be read only once",
            hint="save it to a file first",
        )
    names = fitting_names(
        spoken.speakers,
        as_file_name,
        what="a file system",
        same=str.casefold,  # as those of macOS and Windows have it
    )
    turns = rounded(spoken.turns)
    decoder = open_decoder(spoken.audio)
    with contextlib.closing(decoder), atomic_directory(folder) as temporary:
        (temporary / "speakers").mkdir()
        (temporary / "turns").mkdir()
        pieces = [
            _Piece(
                round(turn.onset_s * decoder.rate_hz),
                round(turn.end_s * decoder.rate_hz),
                turn,
                f"turns/{number:0{len(str(len(turns)))}d}.{names[turn.speaker]}.wav",
                f"speakers/{names[turn.speaker]}.wav",
            )
            for number, turn in enumerate(turns, start=1)
        ]
        separate = _separate_channels(spoken)
        _write(temporary, decoder, pieces, separate)
        with open(temporary / INDEX, "w", encoding="utf-8", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["file", "recording", "start_s", "end_s", "speaker", "channel"])
            for piece in pieces:
                turn = piece.turn
                times = (f"{s:.3f}" for s in (turn.onset_s, turn.end_s))
                table.writerow([piece.name, turn.recording, *times, turn.speaker, turn.channel])


def _separate_channels(spoken: WhoSpokeWhen) -> bool:
    """Whether turns are of one channel each, and not of the mix of all."""
    posteriors = spoken.details.get("count_posteriors", [])
    return bool(posteriors) and all(isinstance(one["channel"], int) for one in posteriors)


def _write(folder: Path, decoder: Decoder, pieces: Sequence[_Piece], separate: bool) -> None:
    """One pass over the recording; the pieces are sorted by their start."""
    layout = _Layout.of(decoder)
    with contextlib.ExitStack() as stack:
        of_speaker = {
            name: stack.enter_context(layout.create(folder / name, 1 if separate else decoder.num_channels))
            for name in dict.fromkeys(piece.of_speaker for piece in pieces)
        }
        open_files: dict[str, soundfile.SoundFile] = {}
        stack.callback(lambda: [file.close() for file in open_files.values()])
        waiting, active, at = list(pieces[::-1]), [], 0
        with contextlib.suppress(TruncatedAudio):  # the diarization has warned, or refused it
            for block in decoder.frames(0):
                end = at + len(block)
                while waiting and waiting[-1].start < end:
                    active.append(waiting.pop())
                for piece in active:
                    part = block[max(piece.start - at, 0) : piece.end - at]
                    if separate:
                        channel = int(piece.turn.channel) - 1
                        part = part[:, channel : channel + 1]
                    if piece.name not in open_files:
                        open_files[piece.name] = layout.create(folder / piece.name, part.shape[1])
                    for file in (open_files[piece.name], of_speaker[piece.of_speaker]):
                        file.write(layout.samples(part))
                    if piece.end <= end:
                        open_files.pop(piece.name).close()
                active = [piece for piece in active if piece.end > end]
                at = end
                if not waiting and not active:
                    break


class _Layout(NamedTuple):
    """How samples are stored: integers of so many bits, or as float (None)."""

    rate_hz: int
    bits: int | None

    @classmethod
    def of(cls, decoder: Decoder) -> _Layout:
        bits = getattr(decoder, "pcm_bits", None)
        return cls(decoder.rate_hz, None if bits is None else 16 if bits <= 16 else 24)

    def create(self, path: Path, num_channels: int) -> soundfile.SoundFile:
        subtype = "FLOAT" if self.bits is None else f"PCM_{self.bits}"
        return soundfile.SoundFile(path, "w", self.rate_hz, num_channels, subtype, format="WAV")

    def samples(self, part: np.ndarray) -> np.ndarray:
        """For libsndfile, which scales floats up by less than it scaled them down."""
        if self.bits == 16:
            return np.rint(part * 32768.0).astype(np.int16)
        if self.bits == 24:
            return np.rint(part.astype(np.float64) * 8388608.0).astype(np.int32) << 8
        return part
