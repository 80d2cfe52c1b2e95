"""Tables of `speed.py` about `embed_sentences`: equal and mixed lengths, a longer text, and memory."""

from collections.abc import Iterator
from functools import partial
from itertools import cycle, islice

import torch
from measuring import Rounds, Settings, count, forget_peak, memory, print_header, print_row, ragged_lengths, times
from tokenizer import made_up_lines  # the benchmark beside this one
from whole_model import build_model

from hf_elmo import ElmoModel, ElmoTokenizer
from hf_elmo.embedding import embed_sentences

NEW_WORDS = 10


def sentences_of(lengths: list[int]) -> list[list[str]]:
    lines = made_up_lines(count=len(lengths), words=max(lengths))
    return [line.split()[:length] for line, length in zip(lines, lengths)]


def print_tables(settings: Settings):
    print_speed(settings)
    columns = ["sentences", "MB beyond the model, words recur", f"{NEW_WORDS} new words in each sentence"]
    print_header("Memory of a corpus, tiny model, on the CPU", columns)
    for number in settings.memory_sentences:
        print_row(count(number), *(count(settings.megabytes("corpus", number, new)) for new in (0, NEW_WORDS)))


def print_speed(settings: Settings):
    mixed = ragged_lengths(settings.sentences)
    corpora = {
        "mixed": sentences_of(mixed),
        "equal": sentences_of([sum(mixed) // len(mixed)] * len(mixed)),
        "longer": sentences_of(ragged_lengths(4 * len(mixed), seed=1)),
    }
    words = {name: sum(map(len, corpus)) for name, corpus in corpora.items()}
    columns = ["size", "words", "words/s, mixed lengths", "words/s, equal lengths", "mixed : equal"]
    columns += ["time of a word in 4x the text", "than without the cache"]
    print_header(f"A corpus on {settings.device}", columns)
    for size in settings.sizes:
        model, tokenizer = build_model(size).to(settings.device), ElmoTokenizer()
        contestants = {name: partial(embed, model, tokenizer, corpus) for name, corpus in corpora.items()}
        contestants["uncached"] = partial(embed, model, tokenizer, corpora["mixed"], cached_words=0)
        taken = Rounds(contestants, settings)
        rates = [taken.rate(name, words[name]) for name in ("mixed", "equal")]
        share = taken.median(lambda t: words["mixed"] / t["mixed"] / (words["equal"] / t["equal"]))
        longer = taken.median(lambda t: t["longer"] / words["longer"] / (t["mixed"] / words["mixed"]))
        row = [size, count(words["mixed"]), *map(count, rates), f"{share:.0%}", f"{longer:.0%}"]
        print_row(*row, times(taken.faster("mixed", "uncached")))


def embed(model: ElmoModel, tokenizer: ElmoTokenizer, sentences: list[list[str]], **options):
    for _ in embed_sentences(model, tokenizer, sentences, **options):
        pass


def memory_of(num_sentences: int, new_words: int, size: str = "tiny") -> float:
    """Return the peak memory of a text in megabytes; the caches are full after 13,000 sentences of ten new words."""
    model, tokenizer = build_model(size), ElmoTokenizer()
    before = forget_peak()
    for vectors in embed_sentences(model, tokenizer, long_text(num_sentences, new_words)):
        assert torch.isfinite(vectors).all()
    return (memory("VmHWM") - before) / 2**20


def long_text(num_sentences: int, new_words: int) -> Iterator[list[str]]:
    """Yield sentences of mixed lengths, each with some words that have not occurred before."""
    known = sentences_of(ragged_lengths(min(num_sentences, 2000)))
    for number, words in enumerate(islice(cycle(known), num_sentences)):
        yield [*words, *(f"word{number}-{place}" for place in range(new_words))]
