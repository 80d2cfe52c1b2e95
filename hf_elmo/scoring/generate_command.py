# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The command `hf-elmo generate`: texts that the forward language model continues."""

import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

import torch

from ..applying.inputs import arriving_lines
from ..model.causal_lm_elmo import ElmoForCausalLM
from ..model.tokenization_elmo import ElmoTokenizer
from ..perplexity import load_language_model
from ..text_files import numbered_lines
from .inputs import STANDARD_INPUT
from .printing import print_object, progress_bar
from .words import next_words, previous_words

EPILOG = """\
Words are sampled by default; the same command gives the same text, whatever other prompts there are, until --seed
changes. A text ends with the sentence, or after --max-words words.

exit codes: 0 success, 2 something to correct, 130 interrupted."""
SAMPLING = ("temperature", "top_k", "top_p")


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("prompts", metavar="PROMPT", nargs="*", help="beginning of a sentence; by default none")
    parser.add_argument("--model", required=True, help="folder or Hub name of a model with its softmax and vocabulary")
    parser.add_argument("--prompts-file", metavar="FILE", help="file with a prompt per line, or - for standard input")
    parser.add_argument("--max-words", type=int, default=30, metavar="N", help="words to add, at most (30)")
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="texts for each prompt (1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers (0)")
    parser.add_argument("--temperature", type=float, metavar="T", help="below 1: more probable words; above: less (1)")
    parser.add_argument("--top-k", type=int, metavar="N", help="sample from the N most probable words (all)")
    parser.add_argument("--top-p", type=float, metavar="P", help="sample from the words of the mass P (1)")
    search = parser.add_mutually_exclusive_group()
    search.add_argument("--greedy", action="store_true", help="take the most probable word each time")
    search.add_argument("--beams", type=int, metavar="N", help="search for the most probable texts with N beams")
    search.add_argument("--next-words", type=int, metavar="N", help="only list the N most probable words after each")
    search.add_argument("--previous-words", type=int, metavar="N", help="only list those before it, by the other model")
    parser.add_argument("--json", action="store_true", help="print one JSON object, a text a line as they come")


def run(arguments: Namespace) -> int:
    """Print continuations."""
    check(arguments)
    model, tokenizer = load_language_model(arguments.model, ElmoForCausalLM)
    prompts, is_stream = prompts_of(arguments), arguments.prompts_file == STANDARD_INPUT
    total = None if arguments.prompts_file else len(arguments.prompts) or 1

    def results() -> Iterator[dict]:
        with progress_bar("prompts", is_stream, total) as progress:
            for prompt in prompts:
                yield from continuations(model, tokenizer, prompt, arguments)
                progress.update()

    if arguments.json:
        print_object("results", results(), lambda: {"seed": arguments.seed}, flush=True)
    else:
        for result in results():
            print(shown(result), flush=True)
    return 0


def check(arguments: Namespace) -> None:
    """Raise a `ValueError` in one line for values out of range, and options that do not go together."""
    for name in ("max_words", "samples", "top_k", "beams", "next_words", "previous_words"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, but is {value}")
    if arguments.temperature is not None and not 0 < arguments.temperature < math.inf:
        raise ValueError(f"--temperature must be above 0, but is {arguments.temperature:g}: for no chance, --greedy")
    if arguments.top_p is not None and not 0 < arguments.top_p <= 1:
        raise ValueError(f"--top-p must be above 0 and at most 1, but is {arguments.top_p:g}")
    if not 0 <= arguments.seed < 1 << 63:
        raise ValueError(f"--seed must be at least 0 and below 2**63, but is {arguments.seed}")
    searches = [name for name in ("greedy", "beams", "next_words", "previous_words") if getattr(arguments, name)]
    given = [f"--{name.replace('_', '-')}" for name in SAMPLING if getattr(arguments, name) is not None]
    if searches and given:
        raise ValueError(f"{', '.join(given)}: for sampling only; leave out --{searches[0].replace('_', '-')}")
    if arguments.samples > (arguments.beams or 1) and searches:
        raise ValueError(
            f"--samples {arguments.samples}: there are only {arguments.beams} beams; give more of them"
            if arguments.beams
            else f"--samples goes with sampling or --beams: --{searches[0].replace('_', '-')} has one result"
        )
    if arguments.prompts and arguments.prompts_file:
        raise ValueError("give prompts either as arguments or by --prompts-file, not both")


def prompts_of(arguments: Namespace) -> Iterator[str]:
    """Yield the prompts; a blank line is an empty one.

    Raises:
        `ValueError`: if a file has none.
    """
    prompts = lines_of(arguments)
    first = next(prompts, None)
    if first is None:
        raise ValueError(f"--prompts-file {arguments.prompts_file}: there is no prompt in it")
    yield first
    yield from prompts


def lines_of(arguments: Namespace) -> Iterator[str]:
    if arguments.prompts_file is None:
        yield from arguments.prompts or [""]
    elif arguments.prompts_file == STANDARD_INPUT:
        if sys.stdin.isatty():
            print("reading a prompt per line from the terminal; Ctrl-D ends", file=sys.stderr)
        for lines in arriving_lines():
            yield from (line for _, line in lines)
    else:
        yield from (line for _, line in numbered_lines(arguments.prompts_file))


def continuations(
    model: ElmoForCausalLM, tokenizer: ElmoTokenizer, prompt: str, arguments: Namespace
) -> Iterator[dict]:
    """Yield the results of a prompt: texts, or one list of words."""
    for name, function in (("next_words", next_words), ("previous_words", previous_words)):
        if count := getattr(arguments, name):
            found = function(model, tokenizer, prompt, count)
            words = [
                {"word": word, "log_probability": chance, "probability": math.exp(chance)} for word, chance in found
            ]
            yield {"prompt": prompt, name: words}
            return
    options = {name: getattr(arguments, name) for name in SAMPLING if getattr(arguments, name) is not None}
    options = {"top_k": 0, **options, "do_sample": True} if not (arguments.greedy or arguments.beams) else {}
    batch = tokenizer(prompt, return_tensors="pt").to(model.device)
    with torch.random.fork_rng(devices=[] if model.device.type == "cpu" else None):
        torch.manual_seed(arguments.seed)
        rows = model.generate(
            **batch,
            max_new_tokens=arguments.max_words,
            num_return_sequences=arguments.samples,
            num_beams=arguments.beams or 1,
            **options,
        )
    for text in tokenizer.batch_decode(rows[:, batch["input_ids"].shape[1] :], skip_special_tokens=True):
        joined = prompt if not text else f"{prompt} {text}" if prompt and not prompt[-1].isspace() else prompt + text
        yield {"prompt": prompt, "continuation": text, "text": joined}


def shown(result: dict) -> str:
    """Return a text, or the words in the order of their probabilities."""
    for name in ("next_words", "previous_words"):
        if name in result:
            words = "  ".join(f"{found['word']} {found['probability']:.3f}" for found in result[name])
            return f"{result['prompt']}\n  {words}"
    return result["text"]
