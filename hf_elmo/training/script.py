"""How a training script reads its command line, and how it fails: in one line, with an exit code.

That line is the message of a `ValueError` or an `OSError`, raised for whatever a user can correct.
"""

import contextlib
import difflib
import json
import logging
import math
import os
import re
import sys
from argparse import Action, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

import torch
from safetensors import SafetensorError
from transformers import HfArgumentParser, TrainingArguments
from transformers.utils import logging as transformers_logging

RECIPES = Path(__file__).parent / "recipes"
OUTPUT_OPTIONS = "output_dir overwrite_output_dir save_strategy save_total_limit keep_checkpoints plots".split()
OUTPUT_OPTIONS += "license language hub_strategy cache_dir".split()
INHERITED = "options of transformers.TrainingArguments"
JSON_OPTION, RESULTS_FILE = "--json", "all_results.json"
ENDING = """\
--json prints the results as one JSON object, and everything else on standard error.

exit codes: 0 success, 2 something to correct, 130 interrupted; the same command resumes what was interrupted."""
# What options of other scripts are called here
OTHER_NAMES = {"--lr": "--learning_rate", "--epochs": "--num_train_epochs", "--model": "--model_name_or_path"}
OTHER_NAMES |= {f"--{name}_file": "--validation_file" for name in ("dev", "eval", "valid", "val")}
OTHER_NAMES |= {"--batch_size": "--per_device_train_batch_size", "--output": "--output_dir", "--steps": "--max_steps"}
# What to do in place of turning off what these scripts always do, where they have the data
ALWAYS = {"--do_train": "this script trains; hf-elmo apply and hf-elmo perplexity score without training"}
ALWAYS |= {"--do_eval": "leave out validation data", "--do_predict": "leave out test data"}
METAVARS = {int: "N", float: "X", str: "TEXT"}


def option(default: Any, help: str) -> Any:
    """Return the field of an argument dataclass, with its default and its text in `--help`."""
    return field(default=default, metadata={"help": help})


def run_script(
    name: str,
    train: Callable,
    argument_classes: Sequence[type],
    arguments: Sequence[str] | None,
    description: str,
    **defaults: object,
) -> int:
    """Parse a command line, train, and return the exit code: 0 success, 2 something to correct, 130 interrupted.

    Args:
        name: Name of the script, `hf_elmo.training.<name>`.
        train: Called with one instance of each argument class and, as the last argument, the command as a list.
        argument_classes: Dataclasses of the data, the model and, last, the training (a `TrainingArguments`).
        arguments: The command line; None for that of the process.
        description: Docstring of the script; its first paragraph heads `--help`.
        defaults: Defaults that differ from those of the dataclasses.
    """
    program = f"python -m hf_elmo.training.{name}"
    if arguments is None:
        arguments, typed = sys.argv[1:], [Path(word).stem for word in sys.orig_argv[:4]]
        if "hf-elmo" in typed:  # a console script may have another name for the task
            program = name = " ".join(["hf-elmo", *sys.orig_argv[typed.index("hf-elmo") + 1 :][:2]])
    as_json = JSON_OPTION in arguments
    arguments = [argument for argument in arguments if argument != JSON_OPTION]
    join_processes_on_cpus()
    try:
        parser = ArgumentParser(argument_classes, prog=program, description=description, allow_abbrev=False)
        parser.set_defaults(**defaults)
        parsed = parser.parse(arguments)
        transformers_logging.disable_progress_bar()  # loading and saving need none, and training has its own
        logging.basicConfig(format="%(message)s", level=logging.INFO if parsed[-1].should_log else logging.WARNING)
        with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
            train(*parsed, [*program.split(), *arguments])
        if as_json and parsed[-1].should_save:
            results = json.loads((Path(parsed[-1].output_dir) / RESULTS_FILE).read_text(encoding="utf-8"))
            print(json.dumps({"output_dir": parsed[-1].output_dir, **results}))
    except KeyboardInterrupt:
        # On a line of its own, below a progress bar and the ^C of the terminal
        print(f"\n{name}: interrupted; the same command resumes from the last checkpoint", file=sys.stderr)
        return 130
    except (ValueError, OSError, SafetensorError, ImportError) as error:
        print(f"{name}: error: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 2
    return 0


def join_processes_on_cpus() -> None:
    """Let the processes that a launcher started train together where there is no accelerator.

    `TrainingArguments` read this variable. Without it, or `--use_cpu True`, each process would train alone.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.accelerator.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"


class ArgumentParser(HfArgumentParser):
    """A parser of dataclasses from the command line and from JSON files, whose errors are `ValueError`s of one line."""

    def error(self, message: str):
        raise ValueError(message)

    def parse(self, arguments: list[str]) -> tuple:
        """Parse arguments, the first of which may be a `.json` file; the command line takes precedence over it.

        In the file, keys that begin with `_` are notes, and an object may stand where the command line takes JSON. The
        name of one of the `recipes` of the package is enough.
        """
        for argument in arguments:
            if not argument.isprintable() and any("\ud800" <= character <= "\udfff" for character in argument):
                shown = argument.encode("utf-8", "backslashreplace").decode()
                raise ValueError(f"the argument {shown} is not UTF-8: rename the file")
        settings = {}
        if arguments and arguments[0].endswith(".json"):
            settings = self.read_json(arguments[0])
            self.set_defaults(**settings)
            arguments = arguments[1:]
        self.check_values(arguments, settings)
        *parsed, unknown = self.parse_args_into_dataclasses(
            arguments, return_remaining_strings=True, look_for_args_file=False
        )
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            hint = suggestion(OTHER_NAMES.get(unknown[0], unknown[0]), known) or "; --help lists those that there are"
            raise ValueError(f"no such argument: {' '.join(unknown)}{hint}")
        return tuple(parsed)

    def check_values(self, arguments: list[str], settings: dict) -> None:
        """Refuse values that would be read, but not followed, on the command line and in a file: `inf`, `nan` and
        `1e400`, which Python reads as numbers, and `False` for what a script always does."""
        options = {name for action in self._actions if action.type is float for name in action.option_strings}
        pairs = [*pairwise(arguments), *(part.split("=", 1) for part in arguments if "=" in part)]
        for name, value in [*pairs, *((f"--{name}", value) for name, value in settings.items())]:
            if name in ALWAYS and str(value).lower() in ("false", "f", "no", "n", "0"):
                raise ValueError(f"{name} {value}: {ALWAYS[name]}")
            number = 0.0  # what is no number at all has another message
            with contextlib.suppress(TypeError, ValueError):
                number = float(value)
            if name in options and not math.isfinite(number):
                raise ValueError(f"{name} must be a number, but is {value}")

    def read_json(self, path: str) -> dict:
        """Return the settings of a JSON file, or of a recipe by its name."""
        shipped = RECIPES / path
        try:
            with open(path if Path(path).is_file() or not shipped.is_file() else shipped, encoding="utf-8-sig") as file:
                settings = json.load(file)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not JSON ({error})") from None
        if not isinstance(settings, dict):
            raise ValueError(f'{path}: must be an object of arguments, {{"learning_rate": 0.001, ...}}')
        settings = {name: value for name, value in settings.items() if not name.startswith("_")}
        known = {f.name for cls in self.dataclass_types for f in fields(cls) if f.init}
        if unknown := sorted(settings.keys() - known):
            raise ValueError(f"{path}: no such argument: {', '.join(unknown)}{suggestion(unknown[0], known)}")
        kinds = {name: str(kind) for cls in self.dataclass_types for name, kind in get_type_hints(cls).items()}
        for name, value in settings.items():
            is_wrong = not isinstance(value, (list, str)) if kinds[name][:5] == "list[" else isinstance(value, list)
            is_wrong = "None" not in kinds[name] if value is None else is_wrong and "| list" not in kinds[name]
            if is_wrong:
                raise ValueError(f"{path}: {name} must not be {json.dumps(value)}; --help says what it is")
        if isinstance(settings.get("config_overrides"), dict):
            settings["config_overrides"] = json.dumps(settings["config_overrides"])
        return settings

    def format_help(self) -> str:
        """Return the options in groups: data, model, training, output, and those of `TrainingArguments` last."""
        formatter = RawDescriptionHelpFormatter(self.prog, max_help_position=36, width=118)
        about, *more = self.description.split("\n\n")
        formatter.add_text(about)
        formatter.add_text(f"usage: {self.prog} [SETTINGS.json] [--OPTION VALUE ...]")
        groups: dict[str, list[Action]] = {}
        for action in self._actions:
            if not action.option_strings or action.option_strings[0].startswith("--no_"):
                continue
            action.option_strings = action.option_strings[:1]  # --with_underscores, not also --with-hyphens
            action.metavar = action.metavar or METAVARS.get(action.type, "VALUE")
            group = self.group_of(action.dest)
            if action.default not in (None, False, "", []) and group not in (INHERITED, "help"):
                action.help = f"{action.help} Default: {action.default}."
            groups.setdefault(group, []).append(action)
        for title in ("help", "data", "model", "training", "output", INHERITED):
            formatter.start_section(title)
            formatter.add_arguments(groups.get(title, []))
            formatter.end_section()
        examples = [re.sub(r"python -m \S+", self.prog, part) for part in more if part.startswith("    python -m")]
        formatter.add_text("\n".join(["examples:", *examples, "", ENDING]) if examples else ENDING)
        return formatter.format_help()

    def group_of(self, name: str) -> str:
        """Return the title of the help group of an option."""
        *others, training = self.dataclass_types
        for title, cls in zip(("data", "model"), others):
            if name in {f.name for f in fields(cls)}:
                return title
        if name == "help":
            return "help"
        if name in OUTPUT_OPTIONS:
            return "output"
        redefined = training.__mro__[: training.__mro__.index(TrainingArguments)]
        is_own = any(name in vars(cls).get("__annotations__", ()) for cls in redefined)
        return "training" if is_own else INHERITED


def suggestion(word: str, known: Sequence[str] | set[str]) -> str:
    """Return "; did you mean ...?" for a mistyped word that resembles a known one, or ""."""
    found = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""
