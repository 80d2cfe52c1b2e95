"""What can only be seen in a fresh process: what an import does, and what the environment says at that time."""

import atexit
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@cache
def forking_python() -> str:
    """Start a process that has torch and the like imported, and return an interpreter that is a fork of it."""
    folder = tempfile.TemporaryDirectory()
    command = [sys.executable, str(Path(__file__).parent / "command_server.py"), folder.name, "libraries"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONPATH"))}
    environment = {**kept, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert server.stdout.readline() == b"ready\n"
    atexit.register(folder.cleanup)
    atexit.register(server.communicate)
    return str(Path(folder.name, "python"))


def run_python(
    *arguments, home: Path, check: bool = True, anew: bool = False, **environment
) -> subprocess.CompletedProcess:
    """A fresh process with its own Hugging Face home, offline unless told otherwise, off the repository.

    It is a fork of one that has torch imported, and nothing of Hugging Face; `anew`, an interpreter of its own, for
    what torch reads from the environment.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONPATH"))}
    environment = {**kept, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable if anew else forking_python(), *map(str, arguments)]
    process = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=300)
    assert not check or process.returncode == 0, process.stderr[-3000:]
    return process


def two_processes(*arguments) -> list[str]:
    """Return a command that runs a script or a module in two processes, as `torchrun` does, which all are forks."""
    python = forking_python()
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python", python]
    return [python, *launcher, *map(str, arguments)]
