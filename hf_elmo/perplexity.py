# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The command `hf-elmo perplexity`: how well a language model predicts a text."""

import json
from argparse import ArgumentParser, Namespace

import torch
from tqdm.auto import tqdm

from .loading import load_model, load_tokenizer
from .model.character_ids_elmo import UNKNOWN_WORD, read_word_vocabulary
from .model.language_model_elmo import ElmoForPreTraining, ElmoLanguageModel
from .model.tokenization_elmo import ElmoTokenizer
from .model.word_splitting_elmo import SPLITTING_RULES
from .training.configs import read_config
from .training.language_model.corpus import TextFiles, choose_split, count_words
from .training.language_model.model import check_word_vocabulary
from .training.language_model.perplexity import sentence_losses, stream_losses, unigram_perplexity
from .training.language_model.streams import PADDING, WordTable


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
    parser.add_argument(
        "--vocab",
        metavar="FILE",
        help="words to predict, one a line, some of the model's: all others count as <UNK>, with the sum of their "
        "probabilities, so that models of different vocabularies compare",
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
    vocabulary = set(table.ids) - {PADDING}
    unknown_ids = None
    if arguments.vocab is not None:
        unknown_ids = ids_outside(arguments.vocab, tokenizer.word_vocab)
        vocabulary = set(read_word_vocabulary(arguments.vocab))
    note = choose_split(corpus, arguments.split, tokenizer.split)
    sentences = list(corpus)
    unigram = {}
    if arguments.unigram is not None:
        training = count_words(TextFiles([arguments.unigram], corpus.split))
        unigram = {"unigram_perplexity": unigram_perplexity(training, vocabulary, sentences)}

    words = sum(map(len, sentences))
    with tqdm(total=words + len(sentences), unit="word", disable=None, leave=False) as progress:
        if arguments.protocol == "sentences":
            losses = sentence_losses(model, table, sentences, progress=progress, unknown=unknown_ids)
        else:
            losses = stream_losses(model, table, sentences, arguments.batch_size or 256, progress, unknown=unknown_ids)
    unknown = sum(word not in vocabulary for sentence in sentences for word in sentence) / max(words, 1)
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


def ids_outside(path: str, words: list[str]) -> torch.Tensor:
    """Return which words of a model are not in a vocabulary file, `(V,)` bool; that of `<UNK>` counts as one of them.

    Raises:
        `ValueError`: if the file has words that the model does not have.
    """
    chosen = set(read_word_vocabulary(path))
    if missing := sorted(chosen - set(words)):
        raise ValueError(
            f"--vocab {path}: {len(missing)} words are not in the vocabulary of the model, {missing[0]!r} for one: "
            "give words that both have"
        )
    return torch.tensor([word == UNKNOWN_WORD or word not in chosen for word in words])


def load_language_model(
    name: str, kind: type[ElmoLanguageModel] = ElmoForPreTraining
) -> tuple[ElmoLanguageModel, ElmoTokenizer]:
    """Load a model of a class with its softmax, in evaluation mode on the best device, and its tokenizer."""
    config = read_config(name)
    if not config.word_vocab_size:
        raise ValueError(
            f"{name} has no softmax over words to predict with (`word_vocab_size` is 0): convert the weights together "
            "with their softmax, or train one with `python -m hf_elmo.training.pretrain`"
        )
    tokenizer = load_tokenizer(name)
    check_word_vocabulary(name, config.word_vocab_size, tokenizer.word_vocab)
    return load_model(kind, name), tokenizer
