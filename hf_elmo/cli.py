"""The `hf-elmo` command: each subcommand's module adds its arguments and runs it.

The file imports nothing but the standard library, as `hf_elmo_command.py` runs it outside the package.
"""

import argparse
import contextlib
import difflib
import importlib
import importlib.metadata
import os
import runpy
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn


@dataclass(frozen=True)
class Command:
    """A subcommand: its module, which has `add_arguments(parser)` and `run(arguments)`, and what `--help` shows."""

    module: str
    summary: str
    examples: tuple[str, ...] = ()


GROUPS = {
    "first steps": {
        "demo": Command(
            "hf_elmo.demo",
            "convert the weights that the package carries, load them, embed sentences",
            ("hf-elmo demo --output elmo", "hf-elmo demo --json"),
        ),
        "env": Command(
            "hf_elmo.env",
            "show versions, devices, and which backend computes the recurrence and why",
            ("hf-elmo env", "hf-elmo env --json"),
        ),
        "completion": Command(
            "hf_elmo.completion",
            "print a script by which bash, zsh or fish complete commands and options",
            (
                "hf-elmo completion bash > ~/.local/share/bash-completion/completions/hf-elmo",
                "hf-elmo completion --json",
            ),
        ),
    },
    "models": {
        "convert": Command(
            "hf_elmo.conversion.command",
            "turn published ELMo weights into a Hub-ready folder, or back",
            (
                "hf-elmo convert original elmo-original",
                "hf-elmo convert weights.hdf5 elmo --options options.json",
                "hf-elmo convert elmo folder --to hdf5",
                "hf-elmo convert elmo sentences --to sentence-transformers --pooling max",
            ),
        ),
        "export": Command(
            "hf_elmo.export",
            "write a model as an ONNX graph of any length, checked against torch",
            ("hf-elmo export elmo elmo.onnx", "hf-elmo export elmo elmo.onnx --hidden-states --json"),
        ),
        "perplexity": Command(
            "hf_elmo.perplexity",
            "score a text with a language model, in both directions",
            ("hf-elmo perplexity text.txt --model elmo", "hf-elmo perplexity text.txt --model elmo --json"),
        ),
    },
    "every day": {
        "embed": Command(
            "hf_elmo.embed",
            "write the vectors of a corpus to a file, as `allennlp elmo` did",
            (
                "hf-elmo embed text.txt vectors.h5 --model elmo --layers all",
                "hf-elmo embed train.conll vectors.parquet --model elmo --dtype float16",
                "hf-elmo embed reviews.jsonl vectors.safetensors --model elmo --column text --vectors sentences",
                "zcat text.gz | hf-elmo embed - vectors.h5 --model elmo --num-processes 4",
            ),
        ),
        "score": Command(
            "hf_elmo.scoring.score_command",
            "log-probabilities of sentences and of their words",
            (
                "hf-elmo score text.txt --model elmo",
                "echo 'The bank was closed .' | hf-elmo score --model elmo --words",
                "hf-elmo score text.txt --model elmo --json",
            ),
        ),
        "substitutes": Command(
            "hf_elmo.scoring.substitutes_command",
            "words that are expected in place of words of a sentence",
            (
                "hf-elmo substitutes text.txt --model elmo --word bank --top-k 5",
                "echo 'The bank was closed .' | hf-elmo substitutes --model elmo --direction forward",
            ),
        ),
        "generate": Command(
            "hf_elmo.scoring.generate_command",
            "continue texts by the forward language model",
            (
                "hf-elmo generate 'The river' --model elmo --samples 3 --seed 1",
                "hf-elmo generate 'The river' --model elmo --beams 4",
                "hf-elmo generate 'The river' --model elmo --next-words 10",
                "hf-elmo generate --prompts-file prompts.txt --model elmo --top-p 0.9 --json",
            ),
        ),
        "apply": Command(
            "hf_elmo.applying.command",
            "label, classify and answer with a trained model: files or standard input",
            (
                "hf-elmo apply tagger text.txt",
                "hf-elmo apply tagger text.txt --output entities.html",
                "hf-elmo apply classifier reviews.csv --text-column review --output labels.jsonl",
                "hf-elmo apply answerer questions.jsonl --top-k 3",
                "echo 'Alice lives in Paris .' | hf-elmo apply tagger",
            ),
        ),
        "inspect": Command(
            "hf_elmo.inspection.command",
            "look into a model: weights of layers, senses of words, attributions, with plots",
            (
                "hf-elmo inspect --model tagger --model classifier --plot layers.png",
                "hf-elmo inspect map --model elmo --word bank --corpus text.txt --plot bank.svg",
                "hf-elmo inspect contextuality map --model elmo --word bank --corpus text.txt --html page.html",
                "hf-elmo inspect wsd --model elmo --train semcor.tsv.gz --test ALL.data.xml.gz",
                "hf-elmo inspect attribution --model classifier --text 'A gripping movie .'",
            ),
        ),
    },
    "training": {
        "train": Command(
            "",
            "pretrain ELMo, or fine-tune it on a task",
            (
                "hf-elmo train ner --model_name_or_path elmo --train_file train.conll --output_dir tagger",
                "hf-elmo train pairs --model_name_or_path elmo --train_file snli.jsonl --output_dir nli --json",
                "hf-elmo train pretrain --train_files 'corpus/*.txt' --output_dir model",
            ),
        ),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
TASKS = {
    "ner": ("hf_elmo.training.ner", "label words: named entities, parts of speech"),
    "classify": ("hf_elmo.training.classify", "classify texts"),
    "sentiment": ("hf_elmo.training.sentiment", "the same as classify"),
    "pairs": ("hf_elmo.training.nli", "classify pairs of texts: inference, paraphrases"),
    "qa": ("hf_elmo.training.qa", "find answers in texts"),
    "srl": ("hf_elmo.training.srl", "label semantic roles: who did what to whom"),
    "coref": ("hf_elmo.training.coref", "find which words of a document mean the same"),
    "seq2seq": ("hf_elmo.training.seq2seq", "write a text from another: translations, summaries, replies"),
    "pretrain": ("hf_elmo.training.pretrain", "train both language models of an ELMo"),
}


EXIT_CODES = "exit codes: 0 success, 1 a check that failed, 2 something to correct, 130 interrupted."


class Parser(argparse.ArgumentParser):
    """An argument parser that accepts no abbreviation, and answers a typo with the nearest name."""

    def __init__(self, **options):
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        parsed, unknown = self.parse_known_args(arguments)
        if unknown:
            option = unknown[0].split("=")[0]
            self.error(f"no such argument: {option}{did_you_mean(option, self._option_string_actions)}")
        return parsed

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}; see {self.prog} --help\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 success, 1 a check that failed, 2 something to correct, 130 interrupted."""
    try:
        try:
            return run_command(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def run_command(arguments: list[str]) -> int:
    """Run one command, or print what the program says about itself."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"hf-elmo {importlib.metadata.version('hf-elmo')}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        what = "option" if name.startswith("-") else "command"
        print(
            f"hf-elmo: error: no such {what}: {name}{did_you_mean(name, COMMANDS)}; see hf-elmo --help", file=sys.stderr
        )
        return 2
    return train(rest) if name == "train" else run(name, rest)


def run(name: str, arguments: list[str]) -> int:
    """Run a command whose module follows the protocol of `Command`."""
    command = COMMANDS[name]
    try:
        # Imported here: a command should not wait for what only others need.
        module = importlib.import_module(command.module)
        parser = Parser(prog=f"hf-elmo {name}", description=f"{command.summary[0].upper()}{command.summary[1:]}.")
        module.add_arguments(parser)
        codes = None if "exit codes:" in (parser.epilog or "") else EXIT_CODES
        parser.epilog = "\n\n".join(filter(None, [parser.epilog, codes, listing("examples", command.examples)]))
        with quiet_transformers():
            return module.run(parser.parse(arguments)) or 0
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        print(f"hf-elmo {name}: error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"hf-elmo {name}: interrupted", file=sys.stderr)
        return 130


def train(arguments: list[str]) -> int:
    """Run a training script as `python -m` does."""
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, TASKS))
        tasks = [f"{task:{width}}  {summary}" for task, (_, summary) in TASKS.items()]
        print("usage: hf-elmo train TASK [options]", listing("tasks", tasks), sep="\n\n")
        print("", listing("examples", COMMANDS["train"].examples), sep="\n")
        print(f"\n{EXIT_CODES}\nhf-elmo train TASK --help lists the options of a task.")
        return 0 if arguments else 2
    task, *rest = arguments
    if task not in TASKS:
        nearest = did_you_mean(task, TASKS) or f"; expected one of {', '.join(TASKS)}"
        print(f"hf-elmo train: error: no such task: {task}{nearest}", file=sys.stderr)
        return 2
    before, sys.argv = sys.argv, [task, *rest]
    try:
        runpy.run_module(TASKS[task][0], run_name="__main__", alter_sys=True)
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except KeyboardInterrupt:  # before the script has begun
        print(f"hf-elmo train {task}: interrupted", file=sys.stderr)
        return 130
    finally:
        sys.argv = before
    return 0


def overview() -> str:
    """Return the help of `hf-elmo` itself: the commands in groups, and examples."""
    width = max(map(len, COMMANDS))
    groups = (
        listing(title, [f"{name:{width}}  {command.summary}" for name, command in commands.items()])
        for title, commands in GROUPS.items()
    )
    examples = listing("examples", [command.examples[0] for command in COMMANDS.values() if command.examples])
    usage = "usage: hf-elmo COMMAND [options]\n       hf-elmo --version\n\nELMo for Hugging Face transformers."
    return "\n\n".join([usage, *groups, examples, "hf-elmo COMMAND --help lists the options of a command."])


def listing(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(f"  {line}" for line in lines)]) if lines else ""


def did_you_mean(word: str, known: Sequence[str] | dict) -> str:
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the notes and progress bars of the library, which would interrupt what a command reports."""
    from transformers.utils import logging

    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
