"""Damaged files and options for each script and command: `python tests/helpers/mutations.py 1000 --seed 1`.

A third of the trials damages a file of a saved tagger and applies it; another third opens the damaged folder with the
library's own classes; the rest damages a data file, the encoder, a checkpoint or an option of one of the training
scripts. Each either succeeds, or ends with one line that names what is wrong: a traceback is a failure. The formats of
original weights have the same in tests/conversion/test_fuzz.py. Each trial is a fork of this process.
"""

import argparse
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from damage import VALUES, mutate
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

NUMBERS = ["nan", "inf", "-1", "0", "1e300", "x", "", "1.5", "99999999999999999999", "[]", "{}", "null", "../x", "\n"]
STEPS = "--num_train_epochs 1 --save_strategy steps --save_steps 2 --eval_strategy steps --eval_steps 2".split()
SECONDS = 120  # after which a trial counts as hanging


def attempt(task: Callable[[], int], log: Path) -> str | None:
    """Run a task in a fork. Returns None for success or one line, and else what it wrote."""
    child = os.fork()
    if not child:
        code = 1
        try:
            stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for number in (1, 2):
                os.dup2(stream, number)
            signal.alarm(SECONDS)
            code = task() or 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    text = log.read_text(errors="replace")
    if os.WIFSIGNALED(status):
        return f"ended by signal {os.WTERMSIG(status)}\n{text[-2000:]}"
    if "Traceback (most recent call last)" in text:
        return text[-3000:]
    last = text.strip().splitlines()[-1:] or [""]
    return f"no word of what is wrong\n{text[-2000:]}" if status and not last[0] else None


# ---- a saved model


def apply_damaged(model: Path, text: Path, output: Path) -> int:
    from hf_elmo.cli import main

    return main(["apply", str(model), str(text), "--output", str(output)])


def open_damaged(model: Path) -> int:
    """Open a folder by the classes of the library, whose errors are a user's last line of a traceback."""
    import hf_elmo

    for name in ("ElmoForTokenClassification", "ElmoTokenizer"):
        try:
            getattr(hf_elmo, name).from_pretrained(model)
        except (ValueError, OSError, SafetensorError, StrictDataclassError, RuntimeError) as error:
            # transformers lists the weights of other sizes than the configuration's, and raises this.
            if isinstance(error, RuntimeError) and "`ignore_mismatched_sizes`" not in str(error):
                raise
            message = str(error).strip()
            print(message)
            assert message, "an error without words"
    return 0


# ---- a run


def damaged_command(command: list[str], dice: random.Random) -> list[str]:
    """Replace the value of one option, or misspell its name."""
    command = list(command)
    places = [place for place, part in enumerate(command) if part.startswith("--") and part != "--output_dir"]
    place = dice.choice(places)
    if dice.random() < 0.1 or place + 1 == len(command):
        command[place] = command[place][:-1]
    else:
        command[place + 1] = dice.choice([*NUMBERS, *map(str, VALUES)])
    return command


def damage_run(data: Path, stopped: Path, name: str, work: Path, dice: random.Random) -> Callable[[], int]:
    """Copy the data of a script and a run that was stopped, damage something, and return the task to run again."""
    from toy_scripts import SCRIPTS

    script, make_command = SCRIPTS[name]
    output = work / "run"
    kind = dice.choice(["data", "data", "encoder", "checkpoint", "option"])
    folder = next(iter(re.findall(r"data/([a-z0-9]+)/encoder", " ".join(make_command(Path("data"), output)))))
    shutil.copytree(data / folder, work / "data" / folder)
    if kind == "checkpoint":
        shutil.copytree(stopped, output)
        for _ in range(dice.randint(1, 2)):
            mutate(output, dice)
    elif kind in ("data", "encoder"):
        part = work / "data" / folder
        if kind == "encoder":
            mutate(part / "encoder", dice)
        else:
            bare = work / "bare"
            bare.mkdir()
            for path in sorted(path for path in part.iterdir() if path.is_file()):
                path.rename(bare / path.name)
            mutate(bare, dice)
            for path in bare.iterdir():
                path.rename(part / path.name)
    command = make_command(work / "data", output, *STEPS)
    if kind == "option":
        command = damaged_command(command, dice)
    return partial(script, command)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trials", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["apply", "open", "run"])
    options = parser.parse_args()
    import kills
    from toy_finetuning import tagged
    from toy_scripts import SCRIPTS, tagger, write_data

    import_module("hf_elmo.applying.command")  # once, before all forks

    kinds, failures = Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        data, log, text = write_data(home / "data"), home / "log", home / "text.txt"
        text.write_text("Anna met Bob .\n")
        stopped = {}
        for name, (script, make_command) in SCRIPTS.items():
            stopped[name] = home / "stopped" / name
            changes = kills.run(script, make_command(data, home / name, *STEPS), home / name)
            command = make_command(data, stopped[name], *STEPS)
            stopped[name].mkdir(parents=True)
            assert kills.run(script, command, stopped[name], kill_at=changes * 2 // 3) == -1
        saved = home / "saved"
        assert attempt(lambda: tagged(*tagger(data, saved, "--num_train_epochs", "1")), log) is None
        for number in range(options.trials):
            dice, work = random.Random(f"{options.seed} {number}"), home / "work"
            work.mkdir()
            kind = options.only or ("apply", "open", "run")[number % 3]
            if kind == "run":
                name = dice.choice(sorted(SCRIPTS))
                task = damage_run(data, stopped[name], name, work, dice)
                kind = name
            else:
                shutil.copytree(saved, work / "model")
                for _ in range(dice.randint(1, 2)):
                    mutate(work / "model", dice)
                if kind == "apply":
                    task = partial(apply_damaged, work / "model", text, work / "out.conll")
                else:
                    task = partial(open_damaged, work / "model")
            problem = attempt(task, log)
            kinds[kind] += 1
            if problem is not None:
                failures += 1
                print(f"---- {kind} {options.seed} {number}: {problem}", flush=True)
            shutil.rmtree(work)
    print(f"{options.trials:,} mutations, {failures} failures; by kind: {dict(kinds)}")


if __name__ == "__main__":
    main()
