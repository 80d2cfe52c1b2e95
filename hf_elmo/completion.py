# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The command `hf-elmo completion`: a script by which a shell completes commands, tasks, topics and options.

The script lists them all, so that completing starts no Python. After an update of the package, run the command again.
"""

import contextlib
import io
import json
import re
import shlex
import warnings
from argparse import ArgumentParser, Namespace
from typing import NamedTuple

from .cli import COMMANDS, TASKS, main
from .inspection.command import TOPICS

SHELLS = ("bash", "zsh", "fish")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
EPILOG = """\
to install:
  bash  hf-elmo completion bash > ~/.local/share/bash-completion/completions/hf-elmo
  zsh   hf-elmo completion zsh >> ~/.zshrc
  fish  hf-elmo completion fish > ~/.config/fish/completions/hf-elmo.fish"""
BASH = """\
_hf_elmo() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} place="${{COMP_WORDS[1]}}" words="" options=""
    if [[ $COMP_CWORD -gt 2 && $place == train ]]; then place="train ${{COMP_WORDS[2]}}"; fi
    if [[ $COMP_CWORD -eq 1 ]]; then place=""; fi
    case $place in
{cases}
    esac
    if [[ $current == -* ]]; then words=$options; fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _hf_elmo hf-elmo
"""
ZSH = "autoload -Uz compinit bashcompinit\ncompinit\nbashcompinit\n"


class Place(NamedTuple):
    """The words and options that may follow on a command line, each with a description."""

    words: dict[str, str]
    options: list[str]


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("shell", choices=SHELLS, nargs="?", help="shell that reads the script")
    parser.add_argument("--json", action="store_true", help="print what can be completed as one JSON object")


def run(arguments: Namespace) -> None:
    """Print the script of a shell, or what it completes."""
    if arguments.json:
        print(json.dumps({before: place._asdict() for before, place in places().items()}))
        return
    if arguments.shell is None:
        raise ValueError(f"name the shell, {', '.join(SHELLS)}, or give --json")
    print(script(arguments.shell, places()), end="")


def places() -> dict[str, Place]:
    """Return what may follow `hf-elmo`, each command, and each task of `train`, by the words before it."""
    found = {"": Place({name: command.summary for name, command in COMMANDS.items()}, ["--help", "--version"])}
    words = {
        "completion": dict.fromkeys(SHELLS, ""),
        "inspect": {name: topic.summary for name, topic in TOPICS.items()},
    }
    for name in COMMANDS:
        if name != "train":
            found[name] = Place(words.get(name, {}), options_of(name))
    found["train"] = Place({task: summary for task, (_, summary) in TASKS.items()}, ["--help"])
    for task in TASKS:
        found[f"train {task}"] = Place({}, sorted([*options_of("train", task), "--json"]))
    return found


def options_of(*command: str) -> list[str]:
    """Return the options that the help of a command shows."""
    quiet = contextlib.suppress(SystemExit), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO())
    with quiet[0], quiet[1], quiet[2] as printed:
        warnings.simplefilter("ignore")  # runpy's, where the module of a task is imported already
        main([*command, "--help"])
    lines = printed.getvalue().partition("\nexamples:\n")[0].splitlines()
    listed = (OPTION.search(line) for line in lines if re.match(r" {1,4}-", line))
    return sorted({"--help", *(match[0] for match in listed if match)})


def script(shell: str, found: dict[str, Place]) -> str:
    """Return the script of a shell."""
    if shell == "fish":
        return fish(found)
    cases = (
        f"        {shlex.quote(before)}) words={shlex.quote(' '.join(place.words))}\n"
        f"            options={shlex.quote(' '.join(place.options))} ;;"
        for before, place in found.items()
    )
    return (ZSH if shell == "zsh" else "") + BASH.format(cases="\n".join(cases))


def fish(found: dict[str, Place]) -> str:
    lines = []
    for before, place in found.items():
        condition = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in before.split())
        if before == "train":
            condition += f"; and not __fish_seen_subcommand_from {' '.join(TASKS)}"
        start = f"complete -c hf-elmo -n {shlex.quote(condition or '__fish_use_subcommand')}"
        for word, summary in place.words.items():
            lines.append(f"{start} -a {word}" + (f" -d {shlex.quote(summary)}" if summary else ""))
        lines += [f"{start} -l {option[2:]}" for option in place.options]
    return "\n".join(lines) + "\n"
