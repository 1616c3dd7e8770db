"""DER against NIST's own md-eval.pl, which meeteval calls; skipped where one of the two is absent."""

from __future__ import annotations

import os
import random
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sdpn.io.rttm import Turn, merge_overlaps, read_rttms
from sdpn.metrics.diarization import score_recordings, total_components

#: Debian's package sctk keeps the script here, out of the path.
SCTK = Path("/usr/lib/sctk/bin/md-eval.pl")


@pytest.fixture(scope="module")
def md_eval(tmp_path_factory: pytest.TempPathFactory) -> object:
    """The function of meeteval, and a script for it to find: else it would load one from the internet.

    That one is a copy in which dscore's author made the times longer; the same is done here to NIST's.
    """
    module = pytest.importorskip("meeteval.der.md_eval", reason="pip install 'sdpn[meeteval]'")
    found = shutil.which("md-eval-22.pl") or shutil.which("md-eval.pl") or (SCTK if SCTK.is_file() else None)
    if found is None:
        pytest.skip("no md-eval.pl here (it is in NIST's SCTK; Debian and Ubuntu: the package sctk)")
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "md-eval-22.pl"
    script.write_text(
        re.sub(r"TIME =%\d+\.2f secs", "TIME =%f secs", Path(found).read_text(encoding="latin-1"))
    )
    script.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder), prepend=os.pathsep)
        yield module.md_eval_22_multifile


def damaged(turns: list[Turn], rng: random.Random) -> list[Turn]:
    """What a diarizer might make of the turns: late or early, dropped, of the wrong speaker."""
    speakers = [turn.speaker for turn in turns]
    return merge_overlaps(
        sorted(
            replace(
                turn,
                onset_s=round(max(0.0, turn.onset_s + rng.uniform(-0.6, 0.6)), 3),
                duration_s=round(max(0.05, turn.duration_s + rng.uniform(-0.5, 0.5)), 3),
                speaker=f"found-{turn.speaker if rng.random() > 0.15 else rng.choice(speakers)}",
            )
            for turn in turns
            if rng.random() > 0.08
        )
    )


@pytest.mark.parametrize(("collar_s", "skip_overlap"), [(0.0, False), (0.25, False), (0.25, True)])
def test_voxconverse_is_scored_as_by_md_eval(
    shared_data: Path, md_eval: object, collar_s: float, skip_overlap: bool
) -> None:
    references = read_rttms(sorted((shared_data / "voxconverse_rttm").glob("*.rttm"))[::9])
    rng = random.Random(0)
    hypotheses = {name: damaged(turns, rng) for name, turns in references.items()}
    end_s = {
        name: max(turn.end_s for turn in (*references[name], *hypotheses[name])) + 1 for name in references
    }

    from meeteval.io import RTTM, UEM

    def table(recordings: dict[str, list[Turn]]) -> object:
        return RTTM.parse(
            "".join(
                f"SPEAKER {turn.recording} 1 {turn.onset_s:.3f} {turn.duration_s:.3f} <NA> <NA>"
                f" {turn.speaker} <NA> <NA>\n"
                for turns in recordings.values()
                for turn in turns
            )
        )

    theirs = md_eval(  # type: ignore[operator]
        table(references),
        table(hypotheses),
        collar=collar_s,
        regions="nooverlap" if skip_overlap else "all",
        uem=UEM.parse("".join(f"{name} 1 0.000 {end:.3f}\n" for name, end in end_s.items())),
    )
    ours = score_recordings(
        references,
        hypotheses,
        regions={name: [(0, end)] for name, end in end_s.items()},
        collar_s=collar_s,
        skip_overlap=skip_overlap,
    )
    assert len(ours) == len(theirs) == 24
    for score in ours:
        expected = theirs[score.recording]
        found = score.components
        assert found.total_s == pytest.approx(float(expected.scored_speaker_time), abs=1e-5)
        assert found.missed_s == pytest.approx(float(expected.missed_speaker_time), abs=1e-5)
        assert found.false_alarm_s == pytest.approx(float(expected.falarm_speaker_time), abs=1e-5)
        assert found.confusion_s == pytest.approx(float(expected.speaker_error_time), abs=1e-5)
    assert total_components(ours).der > 0.05
