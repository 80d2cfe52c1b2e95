"""The code is free of lint, formatted and spelled right: ruff and codespell find nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
from lanes import first_fast

REPOSITORY = Path(__file__).resolve().parents[2]


CHECKS = {
    "lint": ["ruff", "check", "--no-cache", "."],
    "format": ["ruff", "format", "--check", "--no-cache", "."],
    "spelling": ["codespell_lib", "."],
}


@pytest.mark.parametrize("name", first_fast(CHECKS, 2))
def test_a_check_finds_nothing(name):
    if name == "spelling":
        pytest.importorskip("codespell_lib")
    command = [sys.executable, "-m", *CHECKS[name]]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
