"""A Slurm of one node on the loopback, its daemons and all their files in a folder of their own."""

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
SBIN = f"/usr/sbin{os.pathsep}{os.environ.get('PATH', '')}"
MISSING = [name for name in PROGRAMS if shutil.which(name, path=SBIN) is None]
START_S = 30

CONFIGURATION = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,sched_min_interval=0
# more memory and processors than the machine may have: jobs are queued by what they ask for
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 Gres=gpu:1
PartitionName=main Nodes={host} Default=YES State=UP
"""


@contextmanager
def slurm() -> Iterator[dict[str, str]]:
    """Inside, jobs can be submitted under the variables that are given.

    The node has 4 processors, 16 GB and one GPU, of which none need be there; a job that takes more
    memory than it asked for is killed.
    """
    # munge takes no long path for its socket, and no folder that others may write to
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        with ExitStack() as running:
            for name in ("state", "spool", "munge", "bin"):
                (folder / name).mkdir(mode=0o700)
            folder.chmod(0o755)
            settings = {"host": socket.gethostname().partition(".")[0], "user": getpass.getuser()}
            text = CONFIGURATION.format(folder=folder, ports=_free_ports(2), **settings)
            (folder / "slurm.conf").write_text(text)
            gpu = f"NodeName={settings['host']} Name=gpu File=/dev/null\n"
            (folder / "gres.conf").write_text(gpu)
            (folder / "munge/key").write_bytes(os.urandom(1024))
            (folder / "munge/key").chmod(0o600)
            # the executor takes all of SLURM_* away from a job, whose srun must find the file
            wrapper = folder / "bin/srun"
            conf, real = folder / "slurm.conf", shutil.which("srun")
            wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {real} "$@"\n')
            wrapper.chmod(0o755)
            path = f"{folder / 'bin'}{os.pathsep}{SBIN}"
            variables = {"SLURM_CONF": str(conf), "PATH": path}
            files = {"socket": "munge.socket", "key-file": "munge/key", "log-file": "munge/log"}
            files |= {"pid-file": "munge/pid", "seed-file": "munge/seed"}
            options = [f"--{name}={folder / path}" for name, path in files.items()]
            for command in (
                ["munged", "--foreground", "--force", *options],
                ["slurmctld", "-D"],
                ["slurmd", "-D"],
            ):
                running.enter_context(_daemon(command, folder, variables))
            _wait_for_the_node(variables)
            yield variables
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _daemon(command: list[str], folder: Path, variables: dict[str, str]) -> Iterator[None]:
    """Inside, a daemon runs."""
    environment = os.environ | variables
    with (folder / f"{command[0]}.out").open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        if command[0] == "munged":
            _until(lambda: (folder / "munge.socket").exists(), "munged does not start")
        yield
    finally:
        process.terminate()
        process.wait(timeout=START_S)


def _wait_for_the_node(variables: dict[str, str]) -> None:
    def idle() -> bool:
        command = ["sinfo", "--noheader", "--format=%T"]
        answer = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)
        return answer.stdout.strip() == "idle"

    _until(idle, "the node does not become idle")


def _until(condition, otherwise: str) -> None:  # type: ignore[no-untyped-def]
    for _ in range(10 * START_S):
        if condition():
            return
        time.sleep(0.1)
    raise TimeoutError(otherwise)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
