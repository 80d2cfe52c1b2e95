"""Train a biLM as the original ELMo was trained, from scratch or on from any model with or without its softmax.

    python -m hf_elmo.training.pretrain --train_files corpus/*.txt --validation_files held_out.txt --output_dir model

A run that was interrupted goes on exactly where its last checkpoint left it when the same command is given again.
With `torchrun --nproc-per-node N -m hf_elmo.training.pretrain ...` N processes share the streams. All settings may
stand in a JSON file, `python -m hf_elmo.training.pretrain settings.json`.
"""

import json
import logging
import shlex
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, HfArgumentParser, set_seed
from transformers.trainer_utils import IntervalStrategy

from ..model.configuration_elmo import ElmoConfig
from ..model.language_model_elmo import ElmoForPreTraining
from ..model.tokenization_elmo import ElmoTokenizer
from .bilm_trainer import BiLMTrainer, PretrainingArguments
from .checkpoints import last_checkpoint
from .configs import check_can_be_trained, read_config
from .corpus import Corpus, DatasetTexts, SentenceQueue, TextFiles, count_words
from .perplexity import unigram_perplexity
from .streams import Streams, TrainingWindows, WordTable
from .vocabulary import BEGIN, END, build_vocabulary, read_vocabulary, write_vocabulary

logger = logging.getLogger("hf_elmo.pretrain")

VOCABULARY_FILE, ACCUMULATORS_FILE = "vocab.txt", "adagrad_accumulators.safetensors"


@dataclass
class TextArguments:
    """The text to learn from, and the words to predict."""

    train_files: list[str] = field(
        default_factory=list,
        metadata={"help": "Files or globs, plain or .gz: a sentence a line, words parted by white space."},
    )
    validation_files: list[str] = field(
        default_factory=list, metadata={"help": "Held-out text of the same form, scored with the full softmax."}
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "In place of files: a data set, on the Hub or in a folder."}
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration."})
    dataset_split: str = field(default="train", metadata={"help": "Its split."})
    text_column: str = field(default="text", metadata={"help": "Its column of texts, or of lists of words."})
    streaming: bool = field(default=False, metadata={"help": "Read it while it is downloaded."})
    shuffle: bool = field(default=True, metadata={"help": "Bring sentences into a new order in each pass."})
    vocab_file: str | None = field(
        default=None,
        metadata={
            "help": "Words to predict, one a line, most frequent first, <S>, </S> and <UNK> among them. By default "
            "those of the model that is trained on, or the words of the text."
        },
    )
    max_vocab_size: int = field(default=800_000, metadata={"help": "Size of a vocabulary made of the text, at most."})
    min_count: int = field(default=3, metadata={"help": "How often a word of such a vocabulary stands in the text."})
    license: str | None = field(default=None, metadata={"help": "License of the weights, for the model's card."})
    language: str | None = field(default=None, metadata={"help": "Language of the text, for the model's card: en."})


@dataclass
class ModelArguments:
    """The model to start from."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Train on this model. A softmax it lacks is added; words keep their rows."}
    )
    config_name: str | None = field(
        default=None, metadata={"help": "A new model's config.json. By default the original 93.6 M model."}
    )
    config_overrides: str | None = field(
        default=None, metadata={"help": """Changes of the configuration, as JSON: '{"projection_size": 128}'."""}
    )
    freeze_encoder: bool = field(default=False, metadata={"help": "Train nothing but the softmax."})


def main(arguments: list[str] | None = None) -> int:
    """Train, evaluate, save. Returns the exit code: 0, or 2 for something to correct."""
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        train(*parse(arguments), arguments)
    except (ValueError, OSError, SafetensorError) as error:
        print(f"pretrain: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def parse(arguments: list[str]) -> tuple[TextArguments, ModelArguments, PretrainingArguments]:
    parser = HfArgumentParser((TextArguments, ModelArguments, PretrainingArguments), description=__doc__.split("\n")[0])
    if len(arguments) == 1 and arguments[0].endswith(".json"):
        try:
            return parser.parse_json_file(arguments[0])
        except json.JSONDecodeError as error:
            raise ValueError(f"{arguments[0]}: not JSON ({error})") from None
    return parser.parse_args_into_dataclasses(arguments)


def train(
    text: TextArguments, model_args: ModelArguments, args: PretrainingArguments, arguments: list[str]
) -> BiLMTrainer:
    """One run: the corpus is counted, the model made or loaded, trained, evaluated and saved. Returns the trainer.

    Args:
        text, model_args, args: What `arguments` say.
        arguments (`list[str]`): For the model's card.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO if args.should_log else logging.WARNING)
    if not args.output_dir:
        raise ValueError("--output_dir is missing: the folder for checkpoints and the trained model")
    set_seed(args.seed)
    corpus, held_out = open_corpus(text), read_held_out(text.validation_files)
    config = read_config(model_args.model_name_or_path or model_args.config_name, model_args.config_overrides)
    check_can_be_trained(config, model_args.model_name_or_path, not model_args.freeze_encoder)
    counts, num_sentences = count_if_needed(corpus, text, args)
    vocabulary = choose_vocabulary(text, model_args, config, counts)

    tokenizer = make_tokenizer(vocabulary, model_args, config)
    model, accumulators = make_model(model_args, config, vocabulary)
    table = WordTable.of(tokenizer)
    windows = deal(corpus, table, text, args, sum(counts.values()) + num_sentences if counts else None)
    describe(windows, model, vocabulary, counts, args)

    if held_out and args.eval_strategy == IntervalStrategy.NO:
        args.eval_strategy, args.eval_steps = IntervalStrategy.STEPS, args.save_steps
    set_seed(args.seed + args.process_index)  # processes drop out different numbers of their different rows
    trainer = BiLMTrainer(
        model,
        args,
        table=table,
        train_dataset=windows,
        eval_dataset=held_out,
        accumulators=accumulators,
        processing_class=tokenizer,
    )
    checkpoint = args.resume_from_checkpoint or last_checkpoint(args.output_dir)
    if checkpoint is not None:
        logger.info("Resuming from %s", checkpoint)
    result = trainer.train(checkpoint)
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()
    metrics = {}
    if held_out:
        metrics = trainer.evaluate()
        trainer.log_metrics("eval", metrics)
        if counts:
            metrics["eval_unigram_perplexity"] = unigram_perplexity(counts, num_sentences, vocabulary, held_out)
            logger.info("Word frequencies alone have perplexity %.2f", metrics["eval_unigram_perplexity"])
        trainer.save_metrics("eval", metrics)
        trainer.held_out_name = ", ".join(Path(pattern).name for pattern in text.validation_files)
    trainer.save_trained()
    trainer.facts = card_facts(text, metrics, corpus, counts, num_sentences, vocabulary, trainer, arguments, checkpoint)
    trainer.create_model_card()
    if args.push_to_hub:
        trainer.push_to_hub()
    return trainer


# ---- The text


def open_corpus(text: TextArguments) -> Corpus:
    """The training text.

    Raises:
        `ValueError`: if neither files nor a data set are given, or both, or they cannot be found.
    """
    if bool(text.train_files) == (text.dataset_name is not None):
        raise ValueError("give the text to learn from: either --train_files or --dataset_name")
    if text.train_files:
        return TextFiles(text.train_files)
    from datasets import load_dataset

    dataset = load_dataset(
        text.dataset_name, text.dataset_config_name, split=text.dataset_split, streaming=text.streaming
    )
    return DatasetTexts(dataset, text.text_column)


def read_held_out(patterns: list[str]) -> list[list[str]] | None:
    if not patterns:
        return None
    corpus = TextFiles(patterns)
    sentences = [line.split() for shard in corpus.shards for line in corpus.sentences(shard)]
    if not sentences:
        raise ValueError(f"there is no sentence in {', '.join(corpus.shards)}")
    return sentences


def count_if_needed(corpus: Corpus, text: TextArguments, args: PretrainingArguments) -> tuple[Counter[str], int]:
    """Words and sentences of the text; nothing is counted of a stream, which says with --max_steps when to end."""
    if text.streaming:
        if args.max_steps <= 0:
            raise ValueError("--streaming does not tell how long the text is: give --max_steps")
        return Counter(), 0
    counts, num_sentences = count_words(corpus)
    if not num_sentences:
        raise ValueError(f"there is no sentence in {', '.join(corpus.shards)}")
    return counts, num_sentences


def deal(
    corpus: Corpus, table: WordTable, text: TextArguments, args: PretrainingArguments, num_words: int | None
) -> TrainingWindows:
    """Deal the text to the rows of a step, each direction in an order of its own.

    Args:
        num_words (`int`, *optional*): Words of the text, a boundary word of each sentence included.
    Raises:
        `ValueError`: if the text is too short for one step.
    """
    rows = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
    num_windows = None if num_words is None else num_words // (rows * args.unroll_steps)
    if num_windows == 0:
        raise ValueError(
            f"the text has {num_words} words, and one step takes {rows} streams of {args.unroll_steps}: give more "
            "text, or lower --per_device_train_batch_size or --unroll_steps"
        )
    forward, backward = (
        Streams(SentenceQueue(corpus, f"{args.seed}/{name}" if text.shuffle else None), rows, name == "backward")
        for name in ("forward", "backward")
    )
    return TrainingWindows(
        table,
        forward,
        backward,
        args.unroll_steps,
        args.train_batch_size,
        args.process_index,
        args.world_size,
        num_windows,
    )


# ---- The words


def choose_vocabulary(
    text: TextArguments, model_args: ModelArguments, config: ElmoConfig, counts: Counter[str]
) -> list[str]:
    """The words to predict: as asked, else the model's, else those of the text."""
    if text.vocab_file is not None:
        return read_vocabulary(text.vocab_file)
    if model_args.model_name_or_path is not None:
        words = AutoTokenizer.from_pretrained(model_args.model_name_or_path).word_vocab
        if words is not None:
            return words
    if not counts:
        raise ValueError("--streaming does not count words: give a vocabulary, --vocab_file")
    words = build_vocabulary(counts, text.max_vocab_size, text.min_count)
    if len(words) == len(build_vocabulary(Counter())):
        raise ValueError(f"no word stands {text.min_count} times in the text: lower --min_count, or give --vocab_file")
    return words


def make_tokenizer(vocabulary: list[str], model_args: ModelArguments, config: ElmoConfig) -> ElmoTokenizer:
    kept = {}
    if model_args.model_name_or_path is not None:
        old = AutoTokenizer.from_pretrained(model_args.model_name_or_path)
        kept = {"split": old.split, "added_words": old.added_words}
    # Not in the output folder: what is there is left alone until all that can be refused has been looked at.
    with tempfile.TemporaryDirectory() as folder:
        vocab_file = Path(folder) / VOCABULARY_FILE
        write_vocabulary(vocabulary, vocab_file)
        return ElmoTokenizer(str(vocab_file), max_characters_per_token=config.max_characters_per_token, **kept)


# ---- The model


def make_model(
    model_args: ModelArguments, config: ElmoConfig, vocabulary: list[str]
) -> tuple[ElmoForPreTraining, dict[str, Tensor]]:
    """A new model, or one to train on with its softmax fitted to the vocabulary, and its accumulators of Adagrad."""
    name, old_size = model_args.model_name_or_path, config.word_vocab_size
    if not config.char_cnn_filters:
        config.vocab_size = len(vocabulary) + 1
        config.bos_token_id, config.eos_token_id = (vocabulary.index(word) + 1 for word in (BEGIN, END))
    if name is None:
        config.word_vocab_size = len(vocabulary)
        model, accumulators = ElmoForPreTraining(config), {}
    else:
        old_words = AutoTokenizer.from_pretrained(name).word_vocab if old_size else None
        if old_size and (old_words is None or len(old_words) != old_size):
            raise ValueError(
                f"{name}: its softmax is over {old_size} words, and vocab.txt "
                + ("is missing" if old_words is None else f"has {len(old_words)}")
                + ": put the vocabulary that the model was trained with beside it"
            )
        config.word_vocab_size = old_size or len(vocabulary)
        model = ElmoForPreTraining.from_pretrained(name, config=config, dtype=torch.float32)
        accumulators = load_accumulators(name)
        if old_size and old_words != vocabulary:
            accumulators = carry_rows_over(model, accumulators, old_words, vocabulary)
    if model_args.freeze_encoder:
        model.elmo.requires_grad_(False)
    return model, accumulators


def load_accumulators(name: str) -> dict[str, Tensor]:
    path = Path(name) / ACCUMULATORS_FILE
    return load_file(path) if path.is_file() else {}


def carry_rows_over(
    model: ElmoForPreTraining, accumulators: dict[str, Tensor], old_words: list[str], words: list[str]
) -> dict[str, Tensor]:
    """Give the softmax a new vocabulary: words it knows keep their rows, new ones get initial values."""
    old_places = {word: place for place, word in enumerate(old_words)}
    known = [(place, old_places[word]) for place, word in enumerate(words) if word in old_places]
    if not known:
        raise ValueError(
            "no word of the new vocabulary is in the model's: are both of the same language and splitting?"
        )
    places, old = (torch.tensor(column) for column in zip(*known))
    fresh = ElmoForPreTraining(ElmoConfig.from_dict(model.config.to_dict() | {"word_vocab_size": len(words)})).lm_head
    accumulators = dict(accumulators)
    with torch.no_grad():
        for name, parameter in fresh.named_parameters():
            parameter[places] = getattr(model.lm_head, name)[old]
            if (sums := accumulators.get(f"lm_head.{name}")) is not None:
                accumulators[f"lm_head.{name}"] = torch.ones_like(parameter).index_copy(0, places, sums[old])
    model.lm_head, model.config.word_vocab_size = fresh, len(words)
    logger.info("%d of %d words keep their rows of the softmax", len(known), len(words))
    return accumulators


def card_facts(
    text: TextArguments,
    metrics: dict[str, float],
    corpus: Corpus,
    counts: Counter[str],
    num_sentences: int,
    vocabulary: list[str],
    trainer: BiLMTrainer,
    arguments: list[str],
    checkpoint: str | None,
) -> dict[str, str | None]:
    """What the model's card says of the run: corpus, command, settings, time."""
    args = trainer.args
    command = shlex.join(["python", "-m", "hf_elmo.training.pretrain", *arguments])
    if args.hub_token:
        command = command.replace(args.hub_token, "TOKEN")
    known = set(vocabulary)
    unknown = sum(count for word, count in counts.items() if word not in known)
    size = (
        f": {sum(counts.values()):,} words in {num_sentences:,} sentences, {unknown / sum(counts.values()):.2%} of the "
        "words not in the vocabulary"
        if counts
        else ", streamed"
    )
    shards = ", ".join("/".join(Path(shard).parts[-2:]) for shard in corpus.shards)
    origin = f"Trained as a bidirectional language model on {shards}{size}."
    if trainer.model.trained_from:
        origin = f"{origin} Training went on from `{trainer.model.trained_from}`."
    seconds = next(log["train_runtime"] for log in reversed(trainer.state.log_history) if "train_runtime" in log)
    unigram = metrics.get("eval_unigram_perplexity")
    baseline = f"; word frequencies alone (unigrams, one added to each count) reach {unigram:.2f}" if unigram else ""
    resumed = f", counted from {Path(checkpoint).name}, where it was resumed" if checkpoint else ""
    return {
        "origin": origin,
        "tokenization": "The words of its lines are parted by white space; nothing was split further.",
        "training": f"""\
```sh
{command}
```

{trainer.state.global_step} steps of {len(trainer.train_dataset.forward.rows)} streams of {args.unroll_steps} words, \
{args.optim.value} with learning rate {args.learning_rate:g} ({args.lr_scheduler_type.value}), \
{trainer.num_negative_samples or "all"} words in the softmax of a training step, {args.world_size} process(es) on \
{args.device.type}; {seconds / 60:.1f} minutes{resumed}. \
Perplexities are of held-out text, by the full softmax, from a zero state at each sentence{baseline}.""",
        "license": text.license,
        "language": text.language,
    }


def describe(
    windows: TrainingWindows,
    model: ElmoForPreTraining,
    vocabulary: list[str],
    counts: Counter[str],
    args: PretrainingArguments,
):
    """Say what is about to be done."""
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    head = sum(parameter.numel() for parameter in model.lm_head.parameters())
    logger.info(
        "%.1f M parameters, %.1f M of them in the softmax over %d words",
        num_parameters / 1e6,
        head / 1e6,
        len(vocabulary),
    )
    if counts:
        known = set(vocabulary)
        words = sum(counts.values())
        unknown = sum(count for word, count in counts.items() if word not in known)
        logger.info("%d words of text, %.2f %% of them not in the vocabulary", words, 100 * unknown / words)
        logger.info(
            "A step takes %d streams of %d words; %d steps are a pass over the text",
            len(windows.forward.rows),
            args.unroll_steps,
            windows.num_windows,
        )


if __name__ == "__main__":
    sys.exit(main())
