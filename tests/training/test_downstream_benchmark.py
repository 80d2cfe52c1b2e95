"""The benchmark of tasks runs their scripts, repeats nothing, and prints what they found."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
import toy_tasks
from fresh_process import forking_python
from toy_finetuning import QUIET, SMALL, write_encoder, write_words
from toy_scripts import write_documents, write_predicates

from hf_elmo.training import classify

pytestmark = pytest.mark.slow  # each test trains

DOWNSTREAM = Path(__file__).resolve().parents[2] / "benchmarks" / "downstream.py"
KINDS = (("write_words", "conll"), ("write_predicates", "srl"), ("write_documents", "conll"))
TASKS = sorted((DOWNSTREAM.parent / "tasks").glob("*.json"))


def test_each_row_is_a_command_that_is_run_once(tmp_path, monkeypatch, capsys):
    write_words(tmp_path)
    settings = {
        "script": "ner",
        "measure": "test_f1",
        **{f"{split}_file": f"{split}.conll" for split in ("train", "validation", "test")},
        "config_overrides": SMALL,
        "max_steps": 2,
        "plots": False,
        "use_cpu": True,
    }
    (tmp_path / "names.json").write_text(json.dumps(settings))

    options = ["--model", "encoder", "--tasks", "names.json", "--output_dir", "runs", "--fractions", "1"]
    monkeypatch.setattr(sys, "argv", ["", *options, "--seeds", "1", "2"])
    monkeypatch.setattr(sys, "executable", forking_python("everything"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(DOWNSTREAM.parent)

    def run():
        import_module("downstream").main()
        return capsys.readouterr().out

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


def test_probes_of_all_kinds_of_spans_are_one_head(tmp_path, monkeypatch, capsys):
    for write in (write_words, write_predicates, write_documents):
        (tmp_path / write.__name__).mkdir()
        write(tmp_path / write.__name__)
    files = [[str(tmp_path / name / f"{split}.{suffix}") for split in ("train", "test")] for name, suffix in KINDS]
    tasks = [part for task, pair in zip(("ner", "srl", "coref"), files) for part in (f"--{task}", *pair)]
    options = ["--seeds", "1", "2", "--max_steps", "12", "--output_dir", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["", "--model", str(tmp_path / "write_words" / "encoder"), *tasks, *options])
    monkeypatch.syspath_prepend(DOWNSTREAM.parent)
    import_module("edge_probing").main()
    found = json.loads((tmp_path / "out" / "probes.json").read_text())
    assert found["ner, random"]["labels"] == ["LOC", "PER"]
    assert found["srl, pretrained"]["labels"] == ["ARG0", "ARG1"]
    assert found["coref, pretrained"]["labels"] == ["same"]
    for name, probe in found.items():
        assert [run["seed"] for run in probe["runs"]] == [1, 2]
        assert all(sum(run["mix_weights"]) == pytest.approx(1) for run in probe["runs"]), name
    assert min(run["f1"] for run in found["ner, pretrained"]["runs"]) > 0.9
    rows = [line.split(" | ")[:2] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    assert rows == [[f"| {task}", encoder] for task in ("ner", "srl", "coref") for encoder in ("random", "pretrained")]
    assert (tmp_path / "out" / "layer-shares.png").stat().st_size


def test_the_sentence_that_is_selected_is_the_one_of_the_highest_prediction(tmp_path, monkeypatch, capsys):
    """Of texts in which the sentence with a name is the summary; a summary that was written is scored beside it."""
    for seed, split in enumerate(("train", "test")):
        words = [" ".join(part) for part in toy_tasks.sentences(32, seed)]
        named = [f"{name} met {name}" for name in toy_tasks.NAMES * 4]
        rows = [{"source": ["", *pair], "target": [pair[1]]} for pair in zip(words, named)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_encoder(tmp_path / "encoder")
    (tmp_path / "written").mkdir()
    (tmp_path / "written" / "test_predictions.txt").write_text("".join(f"{row['target'][0]}\n" for row in rows))
    monkeypatch.syspath_prepend(DOWNSTREAM.parent)
    extractive = import_module("extractive")
    monkeypatch.setattr(extractive.subprocess, "run", lambda words, check: classify.main([*words[3:], *QUIET]))
    files = [part for split in ("train", "test") for part in (f"--{split}", str(tmp_path / f"{split}.jsonl"))]
    options = ["--output_dir", str(tmp_path / "out"), "--max_steps", "60", "--generated", str(tmp_path / "written")]
    monkeypatch.setattr(sys, "argv", ["", "--model", str(tmp_path / "encoder"), *files, "--seeds", "1", "2", *options])
    extractive.main()
    table = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rouge = {row[0]: float(row[1].split()[0]) for row in table[-4:]}
    assert rouge["best sentence"] == rouge["written"] == 100
    assert rouge["first sentence"] < rouge["selected sentence"] <= 100


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_the_settings_that_are_shipped_name_arguments_that_there_are(path, tmp_path, capsys):
    """Without the data, a command gets as far as to say that."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    script = settings.pop("script")
    assert settings.pop("measure").startswith("test_")
    settings.pop("percent", None)
    settings |= {name: str(tmp_path / "absent") for name in settings if name.endswith("_file")}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    write_encoder(tmp_path / "encoder")
    told = ["--model_name_or_path", str(tmp_path / "encoder"), "--output_dir", str(tmp_path / "out")]
    assert import_module(f"hf_elmo.training.{script}").main([str(tmp_path / "settings.json"), *told]) == 2
    assert "absent" in capsys.readouterr().err.splitlines()[-1]
