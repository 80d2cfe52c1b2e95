"""What can only be seen in a fresh process: what an import does, and what the environment says at that time."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def run_python(*arguments, home: Path, check: bool = True, **environment) -> subprocess.CompletedProcess:
    """A fresh process with its own Hugging Face home, offline unless told otherwise, off the repository."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHONPATH"))}
    environment = {**kept, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, *map(str, arguments)]
    process = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=300)
    assert not check or process.returncode == 0, process.stderr[-3000:]
    return process
