"""The `hf-elmo` command: each subcommand's module adds its arguments and runs it."""

import argparse
import importlib
import sys

COMMANDS = {
    "demo": ("hf_elmo.demo", "convert the weights that the package carries, load them, embed sentences"),
    "convert": ("hf_elmo.conversion.command", "turn published ELMo weights into a Hub-ready folder, or back"),
    "perplexity": ("hf_elmo.training.perplexity", "how well a language model predicts a text, in both directions"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 success, 1 a check that failed, 2 something to correct, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="hf-elmo", description="ELMo for Hugging Face transformers.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, summary) in COMMANDS.items():
        subparsers.add_parser(name, help=summary, add_help=False)
    arguments = sys.argv[1:] if arguments is None else arguments
    name = parser.parse_known_args(arguments[:1])[0].command

    module_name, summary = COMMANDS[name]
    try:
        # Imported here: `hf-elmo --help` should not wait for torch.
        module = importlib.import_module(module_name)
        quiet_transformers()
        command = argparse.ArgumentParser(prog=f"hf-elmo {name}", description=f"{summary[0].upper()}{summary[1:]}.")
        module.add_arguments(command)
        return module.run(command.parse_args(arguments[1:])) or 0
    except (ValueError, OSError) as error:
        print(f"hf-elmo {name}: error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"hf-elmo {name}: interrupted", file=sys.stderr)
        return 130


def quiet_transformers() -> None:
    """A command reports its own results: the library's notes and progress bars would only come between."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
