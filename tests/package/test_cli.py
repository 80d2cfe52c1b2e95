"""The command `hf-elmo`: help in groups, typos answered with the nearest name, exit codes, `env`, `demo`, `train`."""

import json
import os
import subprocess
import sys

import pytest
import torch
from fresh_process import REPOSITORY, run_python
from transformers import AutoModel

import hf_elmo
from hf_elmo.cli import COMMANDS, GROUPS, TASKS, main


def test_help_lists_every_command_in_its_group_with_an_example(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for title, commands in GROUPS.items():
        assert f"{title}:" in printed
        for name, command in commands.items():
            assert command.summary in printed
            assert f"hf-elmo {name}" in printed


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_help_of_a_command_has_its_examples(name, capsys):
    with pytest.raises(SystemExit) as exit:
        main([name, "--help"])
    assert exit.value.code == 0
    printed = capsys.readouterr().out
    assert all(example in printed for example in COMMANDS[name].examples)
    assert "exit codes: 0 success" in printed
    assert "--json" in printed


def test_no_command_at_all_prints_the_help_and_fails(capsys):
    assert main([]) == 2
    assert "usage: hf-elmo COMMAND" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hf-elmo {hf_elmo.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["convrt"], ["train", "nre"]], ids=" ".join)
def test_the_console_script_answers_these_without_the_libraries(arguments, tmp_path):
    script = (
        "import sys; from hf_elmo_command import main; code = main(); "
        "print('imported', sorted({'torch', 'transformers', 'hf_elmo'} & set(sys.modules))); sys.exit(code)"
    )
    process = run_python("-c", script, *arguments, home=tmp_path, check=False, anew=True, PYTHONPATH=str(REPOSITORY))
    assert process.returncode == (0 if arguments[0].startswith("--") else 2)
    assert process.stdout.endswith("imported []\n")
    assert "hf-elmo" in process.stdout + process.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"]], ids=" ".join)
def test_a_reader_that_has_enough_is_no_error(arguments, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, str(REPOSITORY / "hf_elmo_command.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, cwd=tmp_path, env=environment)
    os.close(writing)
    assert (process.returncode, process.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convrt"], "hf-elmo: error: no such command: convrt; did you mean convert?; see hf-elmo --help"),
        (["--vresion"], "hf-elmo: error: no such option: --vresion; see hf-elmo --help"),
        (["train", "nre"], "hf-elmo train: error: no such task: nre; did you mean ner?"),
        (
            ["train", "translation"],
            f"hf-elmo train: error: no such task: translation; expected one of {', '.join(TASKS)}",
        ),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(arguments, message, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err == message + "\n"


@pytest.mark.parametrize("option", ["--jsn", "--jso"])  # a typo, and an abbreviation, which is none either
def test_an_unknown_option_is_answered_with_the_nearest(option, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["env", option])
    assert exit.value.code == 2
    expected = f"hf-elmo env: error: no such argument: {option}; did you mean --json?; see hf-elmo env --help\n"
    assert capsys.readouterr().err == expected


def test_env_names_versions_devices_and_the_backend_of_each(capsys):
    assert main(["env", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["versions"]["torch"] == torch.__version__
    assert "cpu" in facts["devices"]
    for use in ("inference", "training"):
        name, reason = facts["backends of the recurrence"][f"cpu, {use}"].split(": ", 1)
        assert name != "fails"
        assert reason
    assert main(["env"]) == 0
    assert torch.__version__ in capsys.readouterr().out


@pytest.mark.slow
def test_demo_keeps_its_folder_and_uses_it_the_second_time(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out
    assert "Converting the original-format weights" in printed
    assert "hf-elmo perplexity text.txt --model elmo" in printed
    weights = (tmp_path / "elmo" / "model.safetensors").stat()
    assert main(["demo", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["model"] == "elmo"
    assert [len(row) for row in facts["similarities"]] == [len(facts["sentences"])] * len(facts["sentences"])
    assert main(["demo"]) == 0
    assert "Using the model in elmo" in capsys.readouterr().out
    assert (tmp_path / "elmo" / "model.safetensors").stat().st_mtime_ns == weights.st_mtime_ns
    assert AutoModel.from_pretrained(tmp_path / "elmo").num_parameters() == 5_368_036


@pytest.mark.parametrize("task", TASKS)
def test_train_runs_the_script_of_the_task(task, capsys):
    """`main` returns the script's exit code, here for a command without an output folder."""
    assert main(["train", task, "--no_such_option", "1"]) == 2
    assert "no_such_option" in capsys.readouterr().err
