# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The command `hf-elmo score`: the log-probability of each sentence, and of each of its words."""

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from ..model.character_ids_elmo import BOS_WORD, EOS_WORD
from ..perplexity import load_language_model
from .inputs import SentenceInput, add_sentence_arguments
from .printing import print_object, progress_bar
from .sentences import SentenceScore, score_sentences

EPILOG = """\
columns:
  log-probabilities of the sentence by the forward and by the backward model, and their mean; perplexity of a word, by
  both; words that are not in the vocabulary; the sentence. Logarithms are natural. The forward model scores the words
  and </S>, the backward model the words and <S>; the state is zero at the start of each sentence.

exit codes: 0 success, 2 something to correct, 130 interrupted."""
HEADER = f"{'forward':>10} {'backward':>10} {'mean':>10} {'perplexity':>11} {'unknown':>7}  sentence"


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = EPILOG
    add_sentence_arguments(parser)
    parser.add_argument("--words", action="store_true", help="show each word's log-probabilities, too")


def run(arguments: Namespace) -> int:
    """Print the scores of sentences."""
    model, tokenizer = load_language_model(arguments.model)
    source = SentenceInput(arguments.input, arguments.split, tokenizer.split)

    def scores() -> Iterator[SentenceScore]:
        with progress_bar("sentences", source.is_stream) as progress:
            for chunk in source.chunks():
                for score in score_sentences(model, tokenizer, chunk):
                    yield score
                    progress.update()

    if arguments.json:
        sums = Sums()
        sentences = (sums.add(score) for score in scores())
        print_object("sentences", sentences, lambda: {**sums.perplexities(), "split": source.split}, source.is_stream)
        return 0
    for number, score in enumerate(scores()):
        if number == 0 and not arguments.words:
            print(HEADER)
        print(table_of_words(score) if arguments.words else line_of(score), flush=source.is_stream)
    return 0


def line_of(score: SentenceScore) -> str:
    sums = f"{score.forward_log_probability:10.3f} {score.backward_log_probability:10.3f} {score.log_probability:10.3f}"
    return f"{sums} {score.perplexity:11.2f} {score.unknown:7}  {' '.join(score.words)}"


def table_of_words(score: SentenceScore) -> str:
    """Return a line for each word, `<S>` and `</S>`, and the sums; "-" where a direction does not predict the word."""
    forward, backward = [None, *score.forward], [*score.backward, None]
    lines = [f"{'forward':>10} {'backward':>10}  word"]
    for word, *chances in zip([BOS_WORD, *score.words, EOS_WORD], forward, backward):
        cells = ("-" if chance is None else f"{chance:.3f}" for chance in chances)
        lines.append(f"{' '.join(f'{cell:>10}' for cell in cells)}  {word}")
    sums = f"{score.forward_log_probability:10.3f} {score.backward_log_probability:10.3f}"
    return "\n".join([*lines, f"{sums}  sum; perplexity {score.perplexity:.2f}", ""])


class Sums:
    """Sums over the sentences that were scored."""

    def __init__(self):
        self.tokens, self.forward, self.backward = 0, 0.0, 0.0

    def add(self, score: SentenceScore) -> dict:
        """Add a sentence, and return its scores."""
        self.tokens += len(score.forward)
        self.forward -= score.forward_log_probability
        self.backward -= score.backward_log_probability
        return {
            "words": score.words,
            "forward": score.forward,
            "backward": score.backward,
            "forward_log_probability": score.forward_log_probability,
            "backward_log_probability": score.backward_log_probability,
            "log_probability": score.log_probability,
            "perplexity": score.perplexity,
            "unknown_words": score.unknown,
        }

    def perplexities(self) -> dict[str, float]:
        """Return the perplexities of all sentences, as `hf-elmo perplexity` names them."""
        forward, backward = self.forward / self.tokens, self.backward / self.tokens
        return {
            "forward_perplexity": math.exp(forward),
            "backward_perplexity": math.exp(backward),
            "perplexity": math.exp((forward + backward) / 2),
            "tokens": self.tokens,
        }
