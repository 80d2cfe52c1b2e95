"""The benchmark of tasks runs their scripts, repeats nothing, and prints what they found."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from toy_finetuning import SMALL, write_encoder, write_words

pytestmark = pytest.mark.slow  # each test trains

DOWNSTREAM = Path(__file__).resolve().parents[2] / "benchmarks" / "downstream.py"
TASKS = sorted((DOWNSTREAM.parent / "tasks").glob("*.json"))


def test_each_row_is_a_command_that_is_run_once(tmp_path):
    write_words(tmp_path)
    settings = {
        "script": "ner",
        "measure": "test_f1",
        **{f"{split}_file": f"{split}.conll" for split in ("train", "validation", "test")},
        "config_overrides": SMALL,
        "max_steps": 2,
        "use_cpu": True,
    }
    (tmp_path / "names.json").write_text(json.dumps(settings))

    def run():
        options = ["--model", "encoder", "--tasks", "names.json", "--output_dir", "runs", "--fractions", "1"]
        return subprocess.run(
            [sys.executable, str(DOWNSTREAM), *options, "--seeds", "1", "2"],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    first, again = run(), run()
    commands = [line for line in first.splitlines() if line.startswith("$ ")]
    assert [("--random_encoder" in line, "--mix top" in line) for line in commands] == [
        (True, False),
        (False, False),
        (False, True),
    ]
    assert "$ " not in again
    tables = first[first.index("All examples") :]
    assert again.endswith(tables)
    rows = [line.split(" | ") for line in tables.splitlines() if line.startswith("| names")]
    for (_, encoder, measure, value, shares), name in zip(rows[:3], ("random", "pretrained", "top-layer")):
        found = json.loads((tmp_path / "runs" / f"names-{name}-1" / "all_results.json").read_text())
        assert (encoder, measure) == (name.replace("-", " "), "test_f1")
        assert value == f"{100 * found['mean']['test_f1']:.1f} ± {100 * found['std']['test_f1']:.1f}"
        assert (shares == "0.00, 0.00, 1.00 |") == (name == "top-layer")
    assert [row[1:3] for row in rows[3:]] == [["random", "128"], ["pretrained", "128"]]


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_the_settings_that_are_shipped_name_arguments_that_there_are(path, tmp_path, capsys):
    """Without the data, a command gets as far as to say that."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    script = settings.pop("script")
    assert settings.pop("measure").startswith("test_")
    settings |= {name: str(tmp_path / "absent") for name in settings if name.endswith("_file")}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    write_encoder(tmp_path / "encoder")
    told = ["--model_name_or_path", str(tmp_path / "encoder"), "--output_dir", str(tmp_path / "out")]
    assert import_module(f"hf_elmo.training.{script}").main([str(tmp_path / "settings.json"), *told]) == 2
    assert "absent" in capsys.readouterr().err.splitlines()[-1]
