"""All faults of a Kaldi data directory."""

from __future__ import annotations

import os
from pathlib import Path

from sdpn.data.directories.tables import TableFault, read_tables


def validate_data_dir(directory: str | os.PathLike[str], *, check_files: bool = True) -> list[TableFault]:
    """Find every fault of a data directory, as ``utils/validate_data_dir.sh`` of Kaldi does.

    Faults are lines that are malformed, repeated or out of C-locale order, ids that are in one table and not
    in another, files of ``wav.scp`` that do not exist, shell commands (which sdpn does not run), and a
    ``spk2utt`` that differs from ``utt2spk``. Unlike Kaldi's, it does not ask for ``utt2spk``, which
    unlabelled speech does not have, nor for speaker ids that are prefixes of the utterance ids, on which
    nothing here relies.

    Args:
        directory: the data directory.
        check_files: also require that audio files exist.

    Returns:
        the faults, each with file and line; none if all is well.

    Raises:
        InputError: it is not a data directory, a table is not text, or packed speech lacks shards.
    """
    return read_tables(Path(directory), check_files=check_files).faults
