"""Tables of `speed.py` about `embed_sentences`: equal and mixed lengths, a longer text, and memory."""

from collections.abc import Iterator
from functools import partial
from itertools import cycle, islice

import torch
from measuring import (
    Rounds,
    Settings,
    count,
    forget_peak,
    large_products,
    memory,
    print_header,
    print_row,
    ragged_lengths,
    times,
)
from tokenizer import made_up_lines  # the benchmark beside this one
from whole_model import build_model, recurrence_operations, with_int8_weights

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
    columns = ["size", "numbers", "words", "words/s, mixed lengths", "our float32", "of peak, GFLOP/s"]
    columns += ["words/s, equal lengths", "mixed : equal", "time of a word in 4x the text", "than without the cache"]
    print_header(f"A corpus on {settings.device}", columns)
    for size in settings.sizes:
        models = {"float32": build_model(size).to(settings.device)}
        models["bfloat16"] = build_model(size).to(settings.device, torch.bfloat16)
        if settings.device == "cpu":
            models["int8"] = with_int8_weights(models["float32"])
        print_rows(settings, size, corpora, models)


def print_rows(settings: Settings, size: str, corpora: dict[str, list[list[str]]], models: dict[str, ElmoModel]):
    """Print a row for each kind of numbers; that of float32 has the comparisons with other texts."""
    tokenizer = ElmoTokenizer()
    contestants = {name: partial(embed, model, tokenizer, corpora["mixed"]) for name, model in models.items()}
    for name in ("equal", "longer"):
        contestants[name] = partial(embed, models["float32"], tokenizer, corpora[name])
    contestants["uncached"] = partial(embed, models["float32"], tokenizer, corpora["mixed"], cached_words=0)
    products, work = large_products(settings.device, torch.float32, settings.peak_size)
    taken = Rounds(contestants | products, settings)
    words = {name: sum(map(len, corpus)) for name, corpus in corpora.items()}
    # of the recurrence of two layers alone; <S> and </S> are computed, but not counted as words
    operations = recurrence_operations(size, words["mixed"] + 2 * len(corpora["mixed"]))
    share = taken.median(lambda t: words["mixed"] / t["float32"] / (words["equal"] / t["equal"]))
    longer = taken.median(lambda t: t["longer"] / words["longer"] / (t["float32"] / words["mixed"]))
    comparisons = [count(taken.rate("equal", words["equal"])), f"{share:.0%}", f"{longer:.0%}"]
    comparisons.append(times(taken.faster("float32", "uncached")))
    for name in models:
        ratio = None if name == "float32" else times(taken.faster(name, "float32"))
        rate, peak = taken.rate(name, words["mixed"]), taken.of_peak(name, operations, work)
        others = comparisons if name == "float32" else [None] * len(comparisons)
        print_row(size, name, count(words["mixed"]), count(rate), ratio, peak, *others)


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
