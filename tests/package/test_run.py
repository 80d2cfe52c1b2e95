"""`run.py`: the environment that it sets up."""

import subprocess
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def run_script(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    import run

    return run


def test_import_beside_a_folder_of_the_same_name(run_script, tmp_path):
    """A clone is such a folder: it is no package, but has one of its own name inside."""
    environment = run_script.Environment(str(tmp_path / "environment"), None)
    venv.create(environment.folder)
    (tmp_path / "hf_elmo").mkdir()
    code = "import importlib.util as util; print(util.find_spec('hf_elmo').origin)"

    def origin() -> str:
        command = [environment.python, "-c", code]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    assert origin() == "None"
    environment.add_to_path()
    assert Path(origin()) == REPOSITORY / "hf_elmo" / "__init__.py"
