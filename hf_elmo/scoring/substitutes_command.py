# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The command `hf-elmo substitutes`: the words that a language model expects in place of words of a sentence."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from itertools import chain

from ..perplexity import load_language_model
from .inputs import SentenceInput, add_sentence_arguments
from .printing import print_object, progress_bar
from .words import DIRECTIONS, Candidate, substitutes

EPILOG = """\
The word that is replaced is not read. <S>, </S> and <UNK> are not proposed. Probabilities are among all words of the
softmax.

exit codes: 0 success, 2 something to correct, 130 interrupted."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = EPILOG
    add_sentence_arguments(parser)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--word", help="replace this word, wherever it occurs; by default, every word")
    place.add_argument("--position", type=int, metavar="N", help="replace the word of this number, from 0")
    parser.add_argument("--top-k", type=int, default=10, metavar="N", help="words to propose for a place (10)")
    parser.add_argument(
        "--direction",
        choices=DIRECTIONS,
        default="both",
        help="expect words from those before them (forward), after them (backward), or both (default)",
    )


def run(arguments: Namespace) -> int:
    """Print the substitutes of words."""
    for name, least in (("top_k", 1), ("position", 0)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, but is {value}")
    model, tokenizer = load_language_model(arguments.model)
    source = SentenceInput(arguments.input, arguments.split, tokenizer.split)
    total = missing = 0

    def results() -> Iterator[dict]:
        nonlocal total, missing
        with progress_bar("sentences", source.is_stream) as progress:
            for chunk in source.chunks():
                for words in chunk:
                    positions = places(words, arguments)
                    if positions:
                        found = substitutes(
                            model, tokenizer, words, positions, arguments.top_k, direction=arguments.direction
                        )
                        listed = [
                            {"position": position, "candidates": [*map(Candidate.as_dict, candidates)]}
                            for position, candidates in zip(positions, found)
                        ]
                        yield {"words": words, "places": listed}
                    total, missing = total + 1, missing + (not positions)
                    progress.update()

    found = results()
    what = f"word {arguments.word!r}" if arguments.word is not None else f"word of number {arguments.position}"
    first = next(found, None)
    if first is None:
        raise ValueError(f"{source.name}: no sentence has a {what}")
    found = chain([first], found)
    if arguments.json:
        rest = {"direction": arguments.direction, "split": source.split}
        print_object("sentences", found, lambda: rest, source.is_stream)
    else:
        for result in found:
            print(shown(result), flush=source.is_stream)
    if missing:
        print(f"{missing} of {total} sentences have no {what} and are left out", file=sys.stderr)
    return 0


def places(words: list[str], arguments: Namespace) -> list[int]:
    """Return the positions of the words to replace."""
    if arguments.word is not None:
        return [place for place, word in enumerate(words) if word == arguments.word]
    if arguments.position is not None:
        return [arguments.position] if arguments.position < len(words) else []
    return [*range(len(words))]


def shown(result: dict) -> str:
    """Return a line for each place: the sentence with the place marked, or its word, and the candidates."""
    lines = [" ".join(result["words"])]
    width = max(len(result["words"][place["position"]]) for place in result["places"])
    for place in result["places"]:
        words = "  ".join(f"{found['word']} {found['probability']:.3f}" for found in place["candidates"])
        lines.append(f"  {place['position']:3} {result['words'][place['position']]:{width}}  {words}")
    return "\n".join(lines)
