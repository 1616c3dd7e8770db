"""A process that dies, hangs or never comes: one clear error in time, and a run that goes on by itself."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT, TINY
from tests.training.torchrun import one_core, start_ranks, torchrun

#: All-reduces without end; rank 1 says when it is there. Prints the error that ends it.
_REDUCES = """
import os, sys
from sdpn.errors import InputError
from sdpn.training.distributed import process_group
try:
    with process_group("cpu", float(sys.argv[1]), float(sys.argv[2])) as processes:
        for step in range(10**9):
            processes.any(False)
            if step == 10:
                print("there", flush=True)
except InputError as error:
    print(error.message, "|", error.hint, flush=True)
    os._exit(2)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_a_process_that_disappears_in_an_all_reduce(how: signal.Signals) -> None:
    """Killed, as by the system, or silent, as when its host is gone: only the timeout finds that."""
    timeout_s = 3.0
    ranks = start_ranks([sys.executable, "-c", _REDUCES, str(timeout_s / 60), "1"])
    try:
        for rank in ranks:
            assert rank.stdout is not None and rank.stdout.readline() == "there\n"
        ranks[1].send_signal(how)
        started = time.monotonic()
        said, _ = ranks[0].communicate(timeout=60)
        took_s = time.monotonic() - started
    finally:
        for rank in ranks:
            rank.kill()
    assert ranks[0].returncode == 2
    assert "process 0 of 2 lost the others" in said and "the same command resumes" in said
    assert "training.timeout_minutes=0.05" in said
    assert took_s < (20 if how == signal.SIGKILL else timeout_s + 20)
    if how == signal.SIGSTOP:
        assert took_s > timeout_s / 2


def test_a_process_that_never_comes() -> None:
    first = start_ranks([sys.executable, "-c", _REDUCES, "5", "0.03"], world=3)
    for rank in first[1:2]:
        rank.kill()
    said, _ = first[0].communicate(timeout=60)
    for rank in first[1:]:
        rank.kill()
        rank.wait()
    assert first[0].returncode == 2
    assert "the processes cannot connect: " in said and "2/3 clients joined" in said
    assert "training.rendezvous_minutes (now 0.03)" in said


#: ``sdpn train`` of which one process is killed in one step, in the first attempt only.
_KILLED = """
import os, signal, sys
from sdpn.cli.main import main
from sdpn.training import loop
observe = loop.Guards.observe
steps = 0
def dies(guards, terms):
    global steps
    steps += 1
    if steps == 8 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    observe(guards, terms)
loop.Guards.observe = dies
sys.exit(main(sys.argv[1:]))
"""


def _command(out: Path, voices: Path) -> list[str]:
    train = ["train", "--data", str(voices), "--out", str(out), *TINY, "training.steps=10"]
    return [*train, "training.checkpoint_every=3", "training.workers=0"]


@pytest.mark.slow
def test_one_of_two_processes_is_killed_and_the_run_goes_on_by_itself(voices: Path, tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(_KILLED)
    whole = torchrun(2, "-m", "sdpn.cli.main", *_command(tmp_path / "whole", voices))
    assert whole.returncode == 0, whole.stderr
    alone = torchrun(2, str(script), *_command(tmp_path / "alone", voices))
    assert alone.returncode != 0  # nobody restarts it
    assert (tmp_path / "alone/checkpoints/step-00000006").is_dir()
    again = torchrun(2, str(script), *_command(tmp_path / "again", voices), max_restarts=1)
    assert again.returncode == 0, again.stderr
    assert "resuming at step 6" in again.stderr and "written by" not in again.stderr
    states = [
        torch.load(tmp_path / name / "checkpoints/step-00000010/state.pt", weights_only=True)["model"]
        for name in ("whole", "again")
    ]
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        assert not torch.is_tensor(tensor) or torch.equal(tensor, states[1][name]), name
    assert (tmp_path / "again/model/model.safetensors").read_bytes() == (
        tmp_path / "whole/model/model.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_another_number_of_processes_goes_on_with_the_same_batches_and_says_so(
    voices: Path, tmp_path: Path
) -> None:
    pair = torchrun(2, "-m", "sdpn.cli.main", *_command(tmp_path / "exp", voices))
    assert pair.returncode == 0, pair.stderr
    checkpoint = tmp_path / "exp/checkpoints/step-00000010"
    expected = torch.load(checkpoint / "state.pt", weights_only=True)["model"]["prototypes"]
    shutil.rmtree(checkpoint)
    alone = subprocess.run(
        [sys.executable, "-m", "sdpn.cli.main", *_command(tmp_path / "exp", voices)],
        env=one_core({}),
        capture_output=True,
        text=True,
    )
    assert alone.returncode == 0, alone.stderr
    assert "the checkpoint of step 9 was written by 2 process(es), this run has 1" in alone.stderr
    found = torch.load(checkpoint / "state.pt", weights_only=True)["model"]["prototypes"]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)  # the same step but for rounding


def _two_hosts(logs: Path, *commands: str, cut: Path | None = None) -> list[subprocess.CompletedProcess[str]]:
    """Run a shell command on each of two hosts, 10.77.0.1 and 10.77.0.2, each a network namespace.

    Args:
        logs: folder for what they say.
        commands: for each host.
        cut: when this file appears, the cable is pulled.
    """
    tools = ("unshare", "nsenter", "ip")
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        pytest.skip(f"there is no {missing[0]} here to make two hosts with")
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let users make network namespaces")
    script = f"""
set -e
ip link set lo up
unshare -n sleep 300 & other=$!
trap 'kill $other' EXIT
for _ in $(seq 50); do
    ip link add name host0 type veth peer name host1 netns $other 2>{logs}/link && break; sleep 0.1
done
ip addr add 10.77.0.1/24 dev host0; ip link set host0 up
there="nsenter -t $other -n"
$there ip link set lo up; $there ip addr add 10.77.0.2/24 dev host1; $there ip link set host1 up
set +e
(GLOO_SOCKET_IFNAME=host0 bash -c "$1" >{logs}/0.out 2>{logs}/0.err; echo $? >{logs}/0.rc) &
first=$!
(GLOO_SOCKET_IFNAME=host1 $there bash -c "$2" >{logs}/1.out 2>{logs}/1.err; echo $? >{logs}/1.rc) &
second=$!
if [ -n "$3" ]; then
    while [ ! -e "$3" ] && kill -0 $first; do sleep 0.1; done
    ip link set host0 down
fi
wait $first $second
"""
    done = subprocess.run(
        ["unshare", "-rn", "bash", "-c", script, "two_hosts", *commands, "" if cut is None else str(cut)],
        env=one_core({}),
        capture_output=True,
        text=True,
        timeout=280,
    )
    if not (logs / "0.rc").exists():
        pytest.skip(f"two network namespaces cannot be connected here: {done.stderr.strip()}")
    return [
        subprocess.CompletedProcess(
            command,
            int((logs / f"{host}.rc").read_text()),
            (logs / f"{host}.out").read_text(),
            (logs / f"{host}.err").read_text(),
        )
        for host, command in enumerate(commands)
    ]


@pytest.mark.slow
def test_two_hosts(voices: Path, tmp_path: Path) -> None:
    """Torchrun on two hosts trains what two processes of one train."""
    sdpn = f"-m sdpn.cli.main {' '.join(repr(part) for part in _command(tmp_path / 'two', voices))}"
    launch = f"{sys.executable} -m torch.distributed.run --nnodes=2 --nproc-per-node=1"
    meeting = "--rdzv-backend=c10d --rdzv-endpoint=10.77.0.1:29400 --rdzv-id=test"
    hosts = _two_hosts(
        tmp_path,
        *(
            f"cd {ROOT} && {launch} {meeting} --rdzv-conf=is_host={2 - host} "
            f"--local-addr=10.77.0.{host} {sdpn}"
            for host in (1, 2)
        ),
    )
    for host in hosts:
        assert host.returncode == 0, host.stderr
    assert hosts[0].stdout.count("model:") + hosts[1].stdout.count("model:") == 1
    one = torchrun(2, "-m", "sdpn.cli.main", *_command(tmp_path / "one", voices))
    assert one.returncode == 0, one.stderr
    assert (tmp_path / "one/model/model.safetensors").read_bytes() == (
        tmp_path / "two/model/model.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_a_cable_that_is_pulled(voices: Path, tmp_path: Path) -> None:
    """Both hosts end in time with one line, and the checkpoint is whole."""
    train = [*_command(tmp_path / "exp", voices), "training.steps=100000", "training.timeout_minutes=0.1"]
    train += ["training.keep_checkpoints=1"]
    sdpn = f"cd {ROOT} && {sys.executable} -m sdpn.cli.main {' '.join(repr(part) for part in train)}"
    meeting = "MASTER_ADDR=10.77.0.1 MASTER_PORT=29401 WORLD_SIZE=2"
    hosts = _two_hosts(
        tmp_path,
        *(f"export {meeting} RANK={rank}; {sdpn}" for rank in (0, 1)),
        cut=tmp_path / "exp/checkpoints/step-00000003",
    )
    for rank, host in enumerate(hosts):
        assert host.returncode == 2, host.stderr
        assert f"process {rank} of 2 lost the others" in host.stderr and "Traceback" not in host.stderr
    (checkpoint,) = (tmp_path / "exp/checkpoints").iterdir()
    assert torch.load(checkpoint / "state.pt", weights_only=True)["step"] == int(checkpoint.name[5:])
