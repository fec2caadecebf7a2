"""SLURM on this machine, for tests: munged, slurmctld and slurmd, started with a configuration of their own.

    python -m support.slurm_cluster FOLDER      starts them; SLURM_CONF=FOLDER/slurm.conf is what its commands need

Needs root, and Debian's packages slurm-wlm and munge.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 {cpus} State=UNKNOWN
PartitionName=tests Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Returns why there can be no SLURM here, None where there can."""
    absent = [name for name in (*DAEMONS, "sbatch") if shutil.which(name, path=search_path()) is None]
    if absent:
        return f"{', '.join(absent)} are missing: apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "its daemons are started by root alone"


def search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def start(folder: Path) -> Path:
    """Returns the configuration of a SLURM that runs; `stop` ends it."""
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o755)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(128))
    os.chmod(key, 0o600)
    munged(folder, f"--key-file={key}", f"--pid-file={folder}/munge.pid", f"--log-file={folder}/munge.log",
           f"--seed-file={folder}/munge/seed", "--force")  # fmt: skip
    shape = subprocess.run(["slurmd", "-C"], capture_output=True, text=True, env=environment(folder)).stdout
    cpus = " ".join(re.findall(r"(?:CPUs|RealMemory)=\d+", shape))
    host = platform.node().split(".")[0]
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, folder=folder, cpus=cpus, ports=free_ports(2)))
    for name in ("slurmctld", "slurmd"):
        subprocess.run([name, "-f", str(conf)], check=True, env=environment(folder))
    deadline = time.monotonic() + 60
    while "idle" not in asked(folder, "sinfo", "--noheader", "--format=%T"):
        assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text() + (folder / "slurmd.log").read_text()
        time.sleep(0.2)
    return conf


def free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def munged(folder: Path, *arguments: str) -> None:
    subprocess.run(["munged", f"--socket={folder}/munge.socket", *arguments], check=True, env=environment(folder))


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PATH": search_path(), "SLURM_CONF": str(folder / "slurm.conf")}


def asked(folder: Path, *command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, env=environment(folder)).stdout


def stop(folder: Path) -> None:
    """Ends the jobs and daemons that `start` started."""
    asked(folder, "scancel", "--user=root")
    asked(folder, "scontrol", "shutdown")
    munged(folder, "--stop")


if __name__ == "__main__":
    print(start(Path(sys.argv[1]).absolute()))
