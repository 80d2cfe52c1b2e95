"""How well a biLM predicts a text: exp of the mean loss a word, forward, backward, and of both directions' mean.

    sentences  the state is zero at the start of each sentence, and every word of the text is scored
    stream     the protocol of bilm-tf's `run_test.py`: the text is dealt to B streams, the state is carried on in each
               from sentence to sentence, and what remains when a stream finds no further sentence is not scored

In both, `</S>` is predicted forward and `<S>` backward, words outside of the vocabulary count as `<UNK>`, and the
softmax is the full one.
"""

import json
import math
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoTokenizer

from ..model.language_model_elmo import ElmoForPreTraining
from .corpus import TextFiles, count_words
from .streams import PADDING, Streams, Window, WordTable
from .vocabulary import BEGIN, END, UNKNOWN

WINDOW = 256  # words of a row run at a time, the state carried on
BATCH_WORDS = 4096  # words of all rows run at a time
POOL = 4096  # sentences sorted by length at a time


class Losses:
    """Sums of both directions' losses, in double precision, and the number of words they are of.

    Args:
        sums (`(2,)`): Forward and backward, natural logarithm.
        tokens (`int`): Words predicted by each direction.
    """

    def __init__(self, sums: torch.Tensor, tokens: int):
        self.sums, self.tokens = sums, tokens

    def metrics(self) -> dict[str, float]:
        forward, backward = (self.sums / self.tokens).tolist()
        return {
            "forward_perplexity": math.exp(forward),
            "backward_perplexity": math.exp(backward),
            "perplexity": math.exp((forward + backward) / 2),
            "tokens": self.tokens,
        }


class Scorer:
    """Runs windows of text through a model, one after the other, and adds up the losses."""

    def __init__(self, model: ElmoForPreTraining, table: WordTable):
        self.model, self.table = model, table
        self.sums, self.tokens = torch.zeros(2, dtype=torch.float64), 0

    def score(self, ahead: Window, behind: Window, state=None):
        """Score a window, and return the state after it."""
        batch = {name: tensor.to(self.model.device) for name, tensor in self.table.batch(ahead, behind).items()}
        outputs = self.model(**batch, state=state, use_state=True)
        self.sums += outputs.word_losses.double().sum(dim=(0, 2)).cpu()
        self.tokens += sum(map(len, ahead.targets))
        return outputs.state

    def score_sentences(self, sentences: list[list[str]]):
        """Score sentences as the rows of a batch, each from a zero state."""
        ahead = [[BEGIN, *words, END] for words in sentences]
        behind = [[END, *reversed(words), BEGIN] for words in sentences]
        state = None
        for start in range(0, max(map(len, ahead)) - 1, WINDOW):
            state = self.score(cut(ahead, start), cut(behind, start), state)

    def score_streams(self, ahead: Streams, behind: Streams, window: int):
        """Score streams until one finds no further sentence; sentences are dealt step by step, as bilm-tf does."""
        state, more = None, True
        while more:
            steps = []
            while more and len(steps) < window:
                try:
                    steps.append((ahead.window(1), behind.window(1)))
                except StopIteration:
                    more = False
            if steps:
                state = self.score(*map(side_by_side, zip(*steps)), state)
                yield len(steps)


def cut(rows: list[list[str]], start: int) -> Window:
    """The window that begins at word `start` of each row; shorter where a row ends."""
    end = start + WINDOW
    return Window([row[start : min(end, len(row) - 1)] for row in rows], [row[start + 1 : end + 1] for row in rows])


def side_by_side(windows: Iterable[Window]) -> Window:
    """Windows of the same rows as one."""
    inputs, targets = zip(*windows)
    return Window(*([[word for part in parts for word in part] for parts in zip(*rows)] for rows in (inputs, targets)))


def batches_of_like_length(sentences: Iterable[list[str]]) -> Iterator[list[list[str]]]:
    """Sentences of a text in batches of at most `BATCH_WORDS` words, padding included."""
    sentences = iter(sentences)
    while pool := sorted(islice(sentences, POOL), key=len):
        while pool:
            width = min(len(pool[-1]) + 1, WINDOW)
            rows = max(1, BATCH_WORDS // width)
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
) -> Losses:
    """Losses by the protocol `sentences`; with several processes, those of this one's share of the text.

    Args:
        model ([`ElmoForPreTraining`]): In evaluation mode.
        table ([`WordTable`]): Spells words, and knows the ids of the model's softmax.
        sentences (iterable of lists of words): The text.
    """
    scorer = Scorer(model, table)
    for number, batch in enumerate(batches_of_like_length(sentences)):
        if number % num_processes == process:
            scorer.score_sentences(batch)
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
) -> Losses:
    """Losses by the protocol `stream`, with `batch_size` streams. Arguments as above.

    Raises:
        `ValueError`: if there are fewer sentences than streams, so that nothing is scored.
    """
    if batch_size > len(sentences):
        raise ValueError(
            f"{batch_size} streams need as many sentences, and the text has {len(sentences)}: lower the batch size"
        )
    scorer = Scorer(model, table)
    ahead, behind = Streams(iter(sentences), batch_size), Streams(iter(sentences), batch_size, backward=True)
    for num_steps in scorer.score_streams(ahead, behind, max(1, min(WINDOW, BATCH_WORDS // batch_size))):
        if progress is not None:
            progress.update(num_steps * batch_size)
    return Losses(scorer.sums, scorer.tokens)


def unigram_perplexity(
    counts: Counter[str], num_sentences: int, vocabulary: list[str], sentences: Iterable[list[str]]
) -> float:
    """The perplexity of a text under a model that knows how frequent words are, and nothing of their context.

    It is what a language model has to beat: scored are the same words in the same vocabulary, each sentence's `</S>`
    among them and unknown words as `<UNK>`. One is added to each count (Laplace), and `<S>`, which is never predicted
    forward, has no share.

    Args:
        counts (`Counter`), num_sentences (`int`): Words and sentences of the training text.
        vocabulary (`list[str]`): The words of the softmax.
        sentences (iterable of lists of words): The text.
    """
    known = set(vocabulary)

    def of_vocabulary(counts: Counter[str], num_sentences: int) -> Counter[str]:
        inside = Counter({END: num_sentences})
        for word, count in counts.items():
            inside[word if word in known else UNKNOWN] += count
        return inside

    trained = of_vocabulary(counts, num_sentences)
    total = sum(trained.values()) + len(vocabulary) - 1
    sentences = list(sentences)
    scored = of_vocabulary(Counter(word for words in sentences for word in words), len(sentences))
    loss = sum(-count * math.log((trained[word] + 1) / total) for word, count in scored.items())
    return math.exp(loss / sum(scored.values()))


# ---- The command


def add_arguments(parser: ArgumentParser):
    parser.add_argument(
        "text", help="file with a sentence a line, words parted by white space; .gz, or a glob in quotes"
    )
    parser.add_argument("--model", required=True, help="folder or Hub name of a model with its softmax and vocabulary")
    parser.add_argument(
        "--protocol",
        choices=("sentences", "stream"),
        default="sentences",
        help="sentences: zero state at each sentence, every word scored (default); stream: bilm-tf's, the state "
        "carried on in --batch-size streams, the incomplete end not scored",
    )
    parser.add_argument("--batch-size", type=int, metavar="B", help="streams of the protocol stream (default 256)")
    parser.add_argument(
        "--unigram",
        metavar="TEXT",
        help="training text, as above: the perplexity of its word frequencies alone is given too, for comparison",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: Namespace) -> int:
    """Print the perplexities of a text."""
    if arguments.protocol == "sentences" and arguments.batch_size is not None:
        raise ValueError(
            "--batch-size has a meaning with --protocol stream only: sentences do not depend on one another"
        )
    if arguments.batch_size is not None and arguments.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, but is {arguments.batch_size}")
    corpus = TextFiles([arguments.text])
    sentences = [line.split() for shard in corpus.shards for line in corpus.sentences(shard)]
    if not sentences:
        raise ValueError(f"{arguments.text}: there is no sentence in it")
    model, table = load_language_model(arguments.model)
    unigram = {}
    if arguments.unigram is not None:
        counts, num_sentences = count_words(TextFiles([arguments.unigram]))
        if not num_sentences:
            raise ValueError(f"{arguments.unigram}: there is no sentence in it")
        vocabulary = [word for word in table.ids if word is not PADDING]
        unigram = {"unigram_perplexity": unigram_perplexity(counts, num_sentences, vocabulary, sentences)}

    words = sum(map(len, sentences))
    with tqdm(total=words + len(sentences), unit="word", disable=None, leave=False) as progress:
        if arguments.protocol == "sentences":
            losses = sentence_losses(model, table, sentences, progress=progress)
        else:
            losses = stream_losses(model, table, sentences, arguments.batch_size or 256, progress)
    unknown = sum(word not in table.ids for sentence in sentences for word in sentence)
    results = losses.metrics() | {"sentences": len(sentences), "unknown_words": unknown / max(words, 1)} | unigram
    if arguments.json:
        print(json.dumps(results))
    else:
        print(f"forward perplexity   {results['forward_perplexity']:10.3f}")
        print(f"backward perplexity  {results['backward_perplexity']:10.3f}")
        print(f"perplexity           {results['perplexity']:10.3f}")
        if unigram:
            print(f"unigram perplexity   {results['unigram_perplexity']:10.3f}")
        print(
            f"{losses.tokens} words scored in each direction, of {len(sentences)} sentences, their ends included; "
            f"{unknown / max(words, 1):.2%} of the text's words are not in the vocabulary and count as <UNK>"
        )
    return 0


def load_language_model(name: str) -> tuple[ElmoForPreTraining, WordTable]:
    """A model with its softmax, in evaluation mode on the best device, and the table of its tokenizer.

    Raises:
        `ValueError`: if the model has no softmax, or its vocabulary is missing or of another size.
    """
    try:
        config = AutoConfig.from_pretrained(name)
    except OSError as error:
        raise ValueError(f"{name}: {error}") from None
    size = getattr(config, "word_vocab_size", 0)
    if not size:
        raise ValueError(
            f"{name} has no softmax over words to predict with (`word_vocab_size` is 0): convert the weights together "
            "with their softmax, or train one with `python -m hf_elmo.training.pretrain`"
        )
    tokenizer = AutoTokenizer.from_pretrained(name)
    words = getattr(tokenizer, "word_vocab", None)
    if words is None or len(words) != size:
        raise ValueError(
            f"{name}: the softmax is over {size} words, and vocab.txt "
            + ("is missing" if words is None else f"has {len(words)}")
            + ": put the vocabulary that the model was trained with beside it"
        )
    model = ElmoForPreTraining.from_pretrained(name)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    return model.to(device).eval(), WordTable.of(tokenizer)
