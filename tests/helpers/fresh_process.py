"""What can only be seen in a fresh process: what an import does, and what the environment says at that time."""

import atexit
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS_TO_START = 120


@cache
def forking_python(imported: str = "libraries", **settings: str) -> str:
    """Start a process that has torch and the like imported, and return an interpreter that is a fork of it.

    Where `"transformers"` is imported, too, it is with these settings of Hugging Face's libraries; where `"everything"`
    is, so is the package, and they are those of this process. The workers of a run share what has no settings. The
    process ends when all have ended that use it, in whatever way.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    folder = Path(tempfile.gettempdir(), f"hf_elmo_{imported}_{run}")
    if run is None or settings:
        folder = Path(tempfile.mkdtemp())
    elif not is_made(folder):
        if joins(folder):
            return str(folder / "python")
        folder = Path(tempfile.mkdtemp())
    start_server(folder, imported, settings)
    return str(folder / "python")


def is_made(folder: Path) -> bool:
    """Make a folder, unless another process was faster."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return False
    return True


def joins(folder: Path) -> bool:
    """Use the server of another process once it is ready. Return False if there is none any more."""
    deadline = time.monotonic() + SECONDS_TO_START
    while not os.access(folder / "python", os.X_OK):
        if not folder.exists() or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    with suppress(OSError):
        os.open(folder / "users", os.O_WRONLY | os.O_NONBLOCK)  # and never closed
        return True
    return False


def start_server(folder: Path, imported: str, settings: dict[str, str]) -> None:
    """Start a server, whose input ends when no process has it open to write."""
    python = sys.executable if imported == "libraries" else forking_python()
    command = [python, str(Path(__file__).parent / "command_server.py"), str(folder), imported]
    dropped = "PYTHONPATH" if imported == "everything" else ("HF_", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    environment = {**kept, "OMP_NUM_THREADS": "1", **settings}
    os.mkfifo(folder / "users")
    reading = os.open(folder / "users", os.O_RDONLY | os.O_NONBLOCK)
    os.open(folder / "users", os.O_WRONLY)
    server = subprocess.Popen(command, stdin=reading, stdout=subprocess.PIPE, env=environment)
    os.close(reading)
    assert server.stdout.readline() == b"ready\n"


@cache
def shared_home() -> Path:
    """Return a folder that is a Hugging Face home of many processes."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return Path(folder.name)


def python_with_transformers() -> str:
    """Return an interpreter that is a fork of one that has transformers imported, offline and with the shared home."""
    return forking_python("transformers", HF_HOME=str(shared_home()), HF_HUB_OFFLINE="1")


def run_python(
    *arguments, home: Path | None = None, check: bool = True, anew: bool = False, again: bool = False, **environment
) -> subprocess.CompletedProcess:
    """A fresh process with a Hugging Face home of its own or a shared one; offline unless told otherwise.

    It is a fork of one that has torch imported, and nothing of Hugging Face; `anew`, an interpreter of its own, for
    what torch reads from the environment; `again`, or with the shared home, a fork of one that has transformers
    imported, for the many that share a home.
    """
    home, again = home or shared_home(), again or home is None
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONPATH"))}
    environment = {**kept, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment}
    settings = {name: value for name, value in environment.items() if name.startswith("HF_") and name != "HF_TOKEN"}
    fork = forking_python("transformers", **settings) if again else forking_python()
    command = [sys.executable if anew else fork, *map(str, arguments)]
    process = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=300)
    assert not check or process.returncode == 0, process.stderr[-3000:]
    return process


def two_processes(*arguments) -> list[str]:
    """Return a command that runs a script or a module in two processes, as `torchrun` does, which all are forks."""
    python = forking_python("everything")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python", python]
    return [python, *launcher, *map(str, arguments)]
