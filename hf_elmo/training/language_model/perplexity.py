# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Perplexity of a text: exp of the mean loss of a word, in each direction, and of the mean of both directions.

    sentences  the state is zero at the start of each sentence, and every word is scored
    stream     the protocol of bilm-tf's `run_test.py`: the text is distributed over B streams, the state is carried
               from sentence to sentence, and what is left when a stream finds no further sentence is not scored

In both, `</S>` is predicted forward and `<S>` backward, words that are not in the vocabulary count as `<UNK>`, and the
softmax is over all words.
"""

import json
import math
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoTokenizer

from ...model.character_ids_elmo import BOS_WORD, EOS_WORD, UNKNOWN_WORD
from ...model.language_model_elmo import ElmoForPreTraining
from ...model.tokenization_elmo import ElmoTokenizer
from ...model.word_splitting_elmo import SPLITTING_RULES
from ..configs import check_is_converted
from .corpus import TextFiles, TextStatistics, choose_split, count_words
from .streams import PADDING, Streams, Window, WordTable


@dataclass
class BatchSizes:
    """Sizes of batches, on which the results do not depend.

    Args:
        window: Maximum number of tokens of a row that are computed at once, with the state carried on.
        tokens: Maximum number of tokens of all rows that are computed at once.
        pool: Number of sentences that are sorted by length at once.
    """

    window: int = 256
    tokens: int = 4096
    pool: int = 4096


DEFAULT_SIZES = BatchSizes()


class Losses:
    """Sums of both directions' losses in double precision, and the number of scored words.

    Args:
        sums (`(2,)`): Forward and backward, natural logarithm.
        tokens: Number of words that each direction predicted.
    """

    def __init__(self, sums: torch.Tensor, tokens: int):
        self.sums, self.tokens = sums, tokens

    def metrics(self) -> dict[str, float]:
        forward, backward = (self.sums / self.tokens).tolist()
        if not max(forward, backward) < MAX_LOSS:  # also where one of them is not a number
            raise ValueError(
                f"the loss of a word is {forward:.4g} forward and {backward:.4g} backward, which no trained model has: "
                "are these weights damaged, or did their training diverge?"
            )
        return {
            "forward_perplexity": math.exp(forward),
            "backward_perplexity": math.exp(backward),
            "perplexity": math.exp((forward + backward) / 2),
            "tokens": self.tokens,
        }


MAX_LOSS = 700.0  # a double holds exp of it


class Scorer:
    """Runs windows of text through a model, one after the other, and sums the losses."""

    def __init__(self, model: ElmoForPreTraining, table: WordTable):
        self.model, self.table = model, table
        self.sums, self.tokens = torch.zeros(2, dtype=torch.float64), 0

    def score(
        self, forward: Window, backward: Window, state: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score a window, and return the state after it."""
        batch = {name: tensor.to(self.model.device) for name, tensor in self.table.batch(forward, backward).items()}
        outputs = self.model(**batch, state=state, use_state=True)
        self.sums += outputs.word_losses.double().sum(dim=(0, 2)).cpu()
        self.tokens += sum(map(len, forward.targets))
        return outputs.state

    def score_sentences(self, sentences: list[list[str]], window: int) -> None:
        """Score sentences as the rows of a batch, each from a zero state."""
        forward = [[BOS_WORD, *words, EOS_WORD] for words in sentences]
        backward = [[EOS_WORD, *reversed(words), BOS_WORD] for words in sentences]
        state = None
        for start in range(0, max(map(len, forward)) - 1, window):
            state = self.score(cut(forward, start, window), cut(backward, start, window), state)

    def score_streams(self, forward: Streams, backward: Streams, window: int) -> Iterator[int]:
        """Score streams until one finds no further sentence, and return the number of steps of each window.

        As in bilm-tf, rows get their sentences step by step.
        """
        state, more = None, True
        while more:
            steps = []
            while more and len(steps) < window:
                try:
                    steps.append((forward.window(1), backward.window(1)))
                except StopIteration:
                    more = False
            if steps:
                state = self.score(*map(concatenate, zip(*steps)), state)
                yield len(steps)


def cut(rows: list[list[str]], start: int, window: int) -> Window:
    """Return the window that begins at token `start` of each row; rows that end in it are shorter."""
    end = start + window
    return Window([row[start : min(end, len(row) - 1)] for row in rows], [row[start + 1 : end + 1] for row in rows])


def concatenate(windows: Iterable[Window]) -> Window:
    """Concatenate consecutive windows of the same rows."""
    inputs, targets = zip(*windows)
    return Window(*([[word for part in parts for word in part] for parts in zip(*rows)] for rows in (inputs, targets)))


def length_grouped_batches(sentences: Iterable[list[str]], sizes: BatchSizes) -> Iterator[list[list[str]]]:
    """Group sentences of similar length into batches of at most `sizes.tokens` tokens, padding included."""
    sentences = iter(sentences)
    while pool := sorted(islice(sentences, sizes.pool), key=len):
        while pool:
            width = min(len(pool[-1]) + 1, sizes.window)
            rows = max(1, sizes.tokens // width)
            yield pool[-rows:]
            del pool[-rows:]


@torch.no_grad()
def sentence_losses(
    model: ElmoForPreTraining,
    table: WordTable,
    sentences: Iterable[list[str]],
    process: int = 0,
    num_processes: int = 1,
    progress: tqdm | None = None,
    sizes: BatchSizes = DEFAULT_SIZES,
) -> Losses:
    """Score a text by the protocol `sentences`; of several processes, each scores its share of the batches.

    Args:
        model: Language model in evaluation mode.
        table: Encodes words, and knows the ids of the model's softmax.
        sentences: Words of each sentence.
    """
    scorer = Scorer(model, table)
    for number, batch in enumerate(length_grouped_batches(sentences, sizes)):
        if number % num_processes == process:
            scorer.score_sentences(batch, sizes.window)
            if progress is not None:
                progress.update(sum(map(len, batch)) + len(batch))
    return Losses(scorer.sums, scorer.tokens)


@torch.no_grad()
def stream_losses(
    model: ElmoForPreTraining,
    table: WordTable,
    sentences: list[list[str]],
    batch_size: int,
    progress: tqdm | None = None,
    sizes: BatchSizes = DEFAULT_SIZES,
) -> Losses:
    """Score a text by the protocol `stream` with `batch_size` streams. Other arguments as in `sentence_losses`.

    Raises:
        `ValueError`: if there are fewer sentences than streams, so that nothing is scored.
    """
    if batch_size > len(sentences):
        raise ValueError(
            f"{batch_size} streams need as many sentences, and the text has {len(sentences)}: lower the batch size"
        )
    scorer = Scorer(model, table)
    forward, backward = (Streams(iter(sentences), batch_size, backward) for backward in (False, True))
    for num_steps in scorer.score_streams(forward, backward, max(1, min(sizes.window, sizes.tokens // batch_size))):
        if progress is not None:
            progress.update(num_steps * batch_size)
    return Losses(scorer.sums, scorer.tokens)


def unigram_perplexity(training: TextStatistics, vocabulary: Iterable[str], sentences: Iterable[list[str]]) -> float:
    """Return the perplexity of a text under the word frequencies of a training text, as a baseline.

    The same words are scored over the same vocabulary as by the language model: unknown words as `<UNK>`, and each
    sentence's `</S>`. One is added to each count (Laplace); `<S>`, which is never predicted forward, has no count.

    Args:
        training: Counts of the training text.
        vocabulary: Words of the softmax.
        sentences: Words of each sentence of the text.
    """
    known = set(vocabulary)

    def over_vocabulary(counts: Counter[str], num_sentences: int) -> Counter[str]:
        inside = Counter({EOS_WORD: num_sentences})
        for word, count in counts.items():
            inside[word if word in known else UNKNOWN_WORD] += count
        return inside

    trained = over_vocabulary(training.counts, training.num_sentences)
    total = sum(trained.values()) + len(known) - 1
    sentences = list(sentences)
    scored = over_vocabulary(Counter(word for words in sentences for word in words), len(sentences))
    loss = sum(-count * math.log((trained[word] + 1) / total) for word, count in scored.items())
    return math.exp(loss / sum(scored.values()))


# ---- The command `hf-elmo perplexity`


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("text", help="file with one sentence a line; .gz, or a glob in quotes")
    parser.add_argument("--model", required=True, help="folder or Hub name of a model with its softmax and vocabulary")
    parser.add_argument(
        "--split",
        choices=tuple(SPLITTING_RULES),
        help="rule that splits a line into words. By default, text that is split already is left as it is, and raw "
        "text is split as the model's tokenizer does",
    )
    parser.add_argument(
        "--protocol",
        choices=("sentences", "stream"),
        default="sentences",
        help="sentences: zero state at each sentence, every word is scored (default); stream: that of bilm-tf, the "
        "state is carried on in --batch-size streams, the incomplete end is not scored",
    )
    parser.add_argument("--batch-size", type=int, metavar="B", help="number of streams of --protocol stream (256)")
    parser.add_argument(
        "--unigram",
        metavar="TEXT",
        help="training text; the perplexity of its word frequencies alone is given for comparison",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: Namespace) -> int:
    """Print the perplexities of a text."""
    if arguments.protocol == "sentences" and arguments.batch_size is not None:
        raise ValueError("--batch-size is for --protocol stream only: sentences do not depend on one another")
    if arguments.batch_size is not None and arguments.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, but is {arguments.batch_size}")
    corpus = TextFiles([arguments.text])
    if next(iter(corpus), None) is None:
        raise ValueError(f"{arguments.text}: there is no sentence in it")
    model, tokenizer = load_language_model(arguments.model)
    table = WordTable.from_tokenizer(tokenizer)
    note = choose_split(corpus, arguments.split, tokenizer.split)
    sentences = list(corpus)
    unigram = {}
    if arguments.unigram is not None:
        training = count_words(TextFiles([arguments.unigram], corpus.split))
        vocabulary = table.ids.keys() - {PADDING}
        unigram = {"unigram_perplexity": unigram_perplexity(training, vocabulary, sentences)}

    words = sum(map(len, sentences))
    with tqdm(total=words + len(sentences), unit="word", disable=None, leave=False) as progress:
        if arguments.protocol == "sentences":
            losses = sentence_losses(model, table, sentences, progress=progress)
        else:
            losses = stream_losses(model, table, sentences, arguments.batch_size or 256, progress)
    unknown = sum(word not in table.ids for sentence in sentences for word in sentence) / max(words, 1)
    results = {
        **losses.metrics(),
        "sentences": len(sentences),
        "unknown_words": unknown,
        "split": corpus.split,
        **unigram,
    }
    if arguments.json:
        print(json.dumps(results))
        return 0
    for name in ("forward_perplexity", "backward_perplexity", "perplexity", "unigram_perplexity"):
        if name in results:
            print(f"{name.replace('_', ' '):20} {results[name]:10.3f}")
    print(
        f"{losses.tokens} words scored in each direction, the ends of {len(sentences)} sentences included; "
        f"{unknown:.2%} of the text's words are not in the vocabulary and count as <UNK>"
    )
    print(note)
    return 0


def load_language_model(name: str) -> tuple[ElmoForPreTraining, ElmoTokenizer]:
    """Load a model with its softmax, in evaluation mode on the best device, and its tokenizer.

    Raises:
        `ValueError`: if the model has no softmax, or its vocabulary is missing or has another size.
    """
    check_is_converted(name)
    try:
        config = AutoConfig.from_pretrained(name)
    except OSError as error:
        raise ValueError(f"{name}: {error}") from None
    if not getattr(config, "word_vocab_size", 0):
        raise ValueError(
            f"{name} has no softmax over words to predict with (`word_vocab_size` is 0): convert the weights together "
            "with their softmax, or train one with `python -m hf_elmo.training.pretrain`"
        )
    tokenizer = AutoTokenizer.from_pretrained(name)
    check_word_vocabulary(name, config.word_vocab_size, getattr(tokenizer, "word_vocab", None))
    model = ElmoForPreTraining.from_pretrained(name)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    return model.to(device).eval(), tokenizer


def check_word_vocabulary(name: str, size: int, words: list[str] | None) -> None:
    """Refuse a model whose vocabulary is not that of its softmax.

    Raises:
        `ValueError`: if the vocabulary is missing or has another size.
    """
    if words is None or len(words) != size:
        raise ValueError(
            f"{name}: the softmax is over {size} words, and vocab.txt "
            + ("is missing" if words is None else f"has {len(words)}")
            + ": put the vocabulary that the model was trained with beside it"
        )
