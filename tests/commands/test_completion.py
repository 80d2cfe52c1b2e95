"""The command `hf-elmo completion`: shells complete what there is."""

import json
import shutil
import subprocess

import pytest

from hf_elmo.cli import COMMANDS, TASKS, main
from hf_elmo.completion import SHELLS, options_of, places, script


@pytest.fixture(scope="module")
def found():
    return places()


def test_all_commands_tasks_topics_and_options_are_listed(found):
    assert set(found) == {"", *COMMANDS, *(f"train {task}" for task in TASKS)}
    assert {"--output", "--format", "--json", "--help"} <= set(found["apply"].options)
    assert {"--train_file", "--seeds", "--learning_rate"} <= set(found["train ner"].options)
    assert "--unroll_steps" in found["train pretrain"].options
    assert {"layers", "map"} <= set(found["inspect"].words)
    assert options_of("env") == ["--help", "--json"]


def test_bash_completes(found, tmp_path):
    (tmp_path / "complete.sh").write_text(script("bash", found))
    lines = [
        "hf-elmo ins",
        "hf-elmo apply --outp",
        "hf-elmo train ne",
        "hf-elmo train ner --seed",
        "hf-elmo inspect ma",
    ]
    calls = [
        f'COMP_WORDS=({line}); COMP_CWORD={len(line.split()) - 1}; _hf_elmo; echo "${{COMPREPLY[@]}}"' for line in lines
    ]
    shell = ["bash", "-c", "\n".join([f"source {tmp_path / 'complete.sh'}", *calls])]
    printed = subprocess.run(shell, capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines() == ["inspect", "--output", "ner", "--seed --seeds", "map"]
    assert printed.stderr == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_each_script_is_valid(found, tmp_path, shell):
    path = tmp_path / "complete"
    path.write_text(script(shell, found))
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    assert subprocess.run([shell, "-n", path], capture_output=True, check=True).stderr == b""


def test_json_holds_what_is_completed(found, monkeypatch, capsys):
    monkeypatch.setattr("hf_elmo.completion.places", lambda: found)
    assert main(["completion", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["train ner"]["options"] == found["train ner"].options
    assert main(["completion"]) == 2
    assert "name the shell, bash, zsh, fish, or give --json" in capsys.readouterr().err


def test_another_shell_is_refused(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["completion", "tcsh"])
    assert exit.value.code == 2
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
