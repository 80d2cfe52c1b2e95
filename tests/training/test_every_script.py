"""What holds of every fine-tuning script: two processes are one with twice the batch, and cached layers change nothing.

That all of them resume exactly, however often they are killed, is tested in test_run_life.py.
"""

import json
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
from fresh_process import REPOSITORY, two_processes
from safetensors.torch import load_file
from scripts_in_two_processes import train
from torch.testing import assert_close
from toy_scripts import SCRIPTS, write_data

pytestmark = pytest.mark.slow  # each test trains

NAMES = [name for name in SCRIPTS if name != "seeds"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def one(data, tmp_path_factory):
    """Return the folder of a script's run in one process."""

    @cache
    def trained(name: str) -> Path:
        folder = tmp_path_factory.mktemp("one")
        train(name, data, folder, 8)
        return folder

    return trained


@pytest.fixture(scope="module")
def two(data, tmp_path_factory):
    """The folder with the runs of all scripts in two processes."""
    folder = tmp_path_factory.mktemp("two")
    command = two_processes(REPOSITORY / "tests" / "helpers" / "scripts_in_two_processes.py", data, folder, *NAMES)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, cwd=REPOSITORY, timeout=600)
    return folder


def assert_alike(expected: Path, found: Path) -> None:
    """The same weights to float rounding, which Adam enlarges, the same measures, and as many lines of predictions."""
    weights = load_file(expected / "model.safetensors")
    for key, weight in load_file(found / "model.safetensors").items():
        assert_close(weight, weights[key], rtol=0, atol=1e-3, msg=lambda text, key=key: f"{key}: {text}")
    measures, others = (json.loads((folder / "all_results.json").read_text())["mean"] for folder in (expected, found))
    for key in measures.keys() | others.keys():
        if not key.endswith("_loss"):  # a mean over batches, which are others in two processes
            assert measures[key] == pytest.approx(others[key], abs=1e-3), key
    lines, other_lines = (
        {path.name: len(path.read_text().splitlines()) for path in folder.glob("*_predictions*")}
        for folder in (expected, found)
    )
    assert lines == other_lines


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_are_one_with_twice_the_batch(name, one, two):
    assert_alike(one(name), two / name)


@pytest.mark.parametrize("name", ["pairs", "coref", "srl"])
def test_layers_computed_in_every_step_give_the_same_model(name, data, one, tmp_path):
    train(name, data, tmp_path, 8, "--cache_encoder_outputs", "False")
    assert_alike(one(name), tmp_path)
