# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The command `hf-elmo embed`: the vectors of a corpus in one file, in any number of attempts."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from .embedding_files import KINDS, write_file
from .embedding_index import LONGEST_TEXT, length_of_entry
from .embedding_run import (
    SENTENCE,
    UNFINISHED,
    PartialRecord,
    Problem,
    Sentence,
    Settings,
    embed_parts,
    part_path,
    read_parts,
    read_sentences,
    words_stored,
)
from .loading import find_device, load_encoder, load_tokenizer
from .model.modeling_elmo import ElmoModel
from .model.tokenization_elmo import ElmoTokenizer
from .model.word_splitting_elmo import SPLITTING_RULES
from .sentences import FORMATS, Sentences, open_sentences
from .training.run_record import LOCK_FILE, RUN_FILE, configuration_digest, digest, tokenizer_digest

LAYERS = {"all": "all", "top": "top", "average": "mean", "mix": "mix"}
CARRIED_ROWS = 64  # batch size of `allennlp elmo`
PARTIAL = ".partial"
SHOWN_PROBLEMS = 10
EXISTS = "{}: exists; give another name, or --overwrite to replace it"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of the command, in groups."""
    parser.add_argument("input", help="file, - for standard input, or a dataset on the Hub or in a folder")
    parser.add_argument("output", help=f"file to write: {', '.join(KINDS)}")
    parser.add_argument("--model", required=True, help="folder or Hub name of a model")
    given = parser.add_argument_group("input")
    given.add_argument("--format", choices=tuple(FORMATS), help="format of the input (default: by its name, or text)")
    given.add_argument(
        "--column",
        "--text-column",
        metavar="NAME",
        help="column of the texts or words of a table, a dataset, or a file with a word a line",
    )
    given.add_argument("--dataset-split", metavar="NAME", help="split of a dataset (train)")
    given.add_argument("--dataset-config", metavar="NAME", help="configuration of a dataset")
    given.add_argument(
        "--split",
        choices=tuple(SPLITTING_RULES),
        help="rule that splits a text into words. By default, text that is split already is left as it is, and raw "
        "text is split as the model's tokenizer does",
    )
    given.add_argument(
        "--max-words", type=positive, default=100_000, metavar="N", help="leave out longer sentences (%(default)s)"
    )
    vectors = parser.add_argument_group("vectors")
    vectors.add_argument(
        "--layers",
        type=layers,
        default="mix",
        metavar="{all,top,average,mix,0,1,...}",
        help="all layers, the last one, their mean, the model's mix, or a layer by its number (mix)",
    )
    for name in ("all", "top", "average"):
        vectors.add_argument(
            f"--{name}", dest="layers", action="store_const", const=LAYERS[name], help=f"--layers {name}"
        )
    vectors.add_argument(
        "--vectors", choices=("words", SENTENCE), default="words", help="of words, or one for each sentence (words)"
    )
    vectors.add_argument(
        "--pooling",
        choices=("mean", "max", "attention"),
        help="--vectors sentences: how words become one vector; attention has weights that are trained with the model "
        "(by default as the model's sentence_pooling says: mean)",
    )
    vectors.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="type to write (float32)")
    vectors.add_argument(
        "--carry-state",
        action="store_true",
        help="begin each batch with the state after the one before, as the original programs do; sentences then depend "
        "on those before",
    )
    vectors.add_argument(
        "--batch-size", type=positive, metavar="B", help=f"sentences in a batch of --carry-state ({CARRIED_ROWS})"
    )
    hdf5 = parser.add_argument_group("HDF5")
    hdf5.add_argument("--forget-sentences", action="store_true", help="without sentence_to_index")
    hdf5.add_argument("--use-sentence-keys", action="store_true", help="name each dataset by its sentence")
    running = parser.add_argument_group("running")
    running.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: the best one)")
    running.add_argument(
        "--num-processes", "--num_processes", type=positive, default=1, metavar="N", help="processes or GPUs (1)"
    )
    running.add_argument(
        "--words-per-batch", type=positive, default=4096, metavar="N", help="words computed at a time (%(default)s)"
    )
    running.add_argument(
        "--words-per-part",
        type=positive,
        default=1 << 15,
        metavar="N",
        help="words after which the vectors are saved; so many are in memory (%(default)s)",
    )
    running.add_argument(
        "--overwrite", action="store_true", help="replace a file at OUTPUT, and what another run left unfinished"
    )
    running.add_argument("--json", action="store_true", help="print one JSON object")
    parser.epilog = (
        "A run that was killed is continued by the same command: what it computed lies in OUTPUT.partial.\n"
        "A sentence that cannot be read is named and left out. An empty line has no vectors.\n\n"
        "exit codes: 0 success, 1 sentences were left out, 2 something to correct, 130 interrupted."
    )


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be a whole number of at least 1, but is {text!r}")
    return int(text)


def layers(text: str) -> str | int:
    """Return what `--layers` means to `embed_sentences`."""
    if text.isdecimal():
        return int(text)
    if text not in LAYERS:
        raise ArgumentTypeError(f"must be {', '.join(LAYERS)} or the number of a layer, but is {text!r}")
    return LAYERS[text]


def run(arguments: Namespace) -> int:
    """Embed a corpus. Returns the exit code: 1 if sentences were left out."""
    output = Path(arguments.output)
    check_arguments(arguments, output)
    with open_sentences(
        arguments.input, arguments.format, arguments.column, arguments.dataset_split, arguments.dataset_config
    ) as sentences:
        report = embed_corpus(arguments, sentences, output)
    if arguments.json:
        print(json.dumps(report))
    else:
        left_out = f", {report['left_out']:,} left out" if report["left_out"] else ""
        speed = f" at {report['words_per_second']:,.0f} words/s" if report["words_per_second"] else ""
        print(
            f"{output}: {report['sentences']:,} sentences with {report['words']:,} words{left_out}; computed in "
            f"{report['seconds']:.1f} s{speed}"
        )
    return 1 if report["left_out"] else 0


def check_arguments(arguments: Namespace, output: Path) -> None:
    """Check what needs neither model nor input."""
    kind = KINDS.get(output.suffix)
    if kind is None:
        raise ValueError(f"{output}: the name must end in {', '.join(KINDS)}, which says what to write")
    if not output.parent.is_dir():
        raise ValueError(f"{output}: there is no folder {output.parent}; make it first")
    if not os.access(output.parent, os.W_OK):
        raise ValueError(f"{output}: no permission to write to {output.parent}")
    if output.exists() and Path(arguments.input).exists() and output.samefile(arguments.input):
        raise ValueError(f"{output}: this is the input; give another file")
    if output.exists() and not arguments.overwrite and not Path(f"{output}{PARTIAL}").exists():
        raise ValueError(EXISTS.format(output))
    if output.is_dir():
        raise ValueError(f"{output}: this is a folder; give the name of a file")
    if kind != "hdf5" and (arguments.forget_sentences or arguments.use_sentence_keys):
        raise ValueError(f"--forget-sentences and --use-sentence-keys are for .h5 and .hdf5, not for {output.suffix}")
    if arguments.pooling is not None and arguments.vectors != SENTENCE:
        raise ValueError(f"--pooling {arguments.pooling} is for --vectors {SENTENCE}: words have a vector each")
    if arguments.batch_size is not None and not arguments.carry_state:
        raise ValueError("--batch-size is for --carry-state: without it, no vector depends on batches")
    if arguments.carry_state and arguments.num_processes > 1:
        raise ValueError("--carry-state needs one process, because each batch continues the one before")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("this command starts its own processes: use --num-processes N in place of a launcher")


# ---- The run


@dataclass
class Survey:
    """Counts and problems that the first reading of an input finds.

    Args:
        sentences, words: Number of sentences, without those that are left out, and of their words.
        empty: Numbers of the first sentence without words, and of all of them.
        problems: The first sentences that are left out.
        left_out: Number of sentences that are left out.
        index: Length of a `sentence_to_index` in bytes, if no sentence is there twice.
        digest: Identifies the content.
    """

    sentences: int = 0
    words: int = 0
    first_empty: int = 0
    empty: int = 0
    problems: list[Problem] = field(default_factory=list)
    left_out: int = 0
    index: int = 0
    digest: str = ""


def embed_corpus(arguments: Namespace, sentences: Sentences, output: Path) -> dict:
    """Embed sentences to a file, and return what to report."""
    if arguments.device is not None:
        find_device(arguments.device)
    model, tokenizer = load_encoder(arguments.model), load_tokenizer(arguments.model)
    last = model.config.num_hidden_layers
    if isinstance(arguments.layers, int) and arguments.layers > last:
        raise ValueError(f"--layers {arguments.layers}: the layers of {arguments.model} are 0 to {last}")
    split, note = sentences.splitting_rule(arguments.split, tokenizer.split)
    if split != tokenizer.split:
        tokenizer = load_tokenizer(arguments.model, split=split)
    settings = settings_of(arguments, split, pooling_of(arguments, model))

    def read() -> Iterator[Sentence | Problem]:
        return read_sentences(sentences, tokenizer.tokenize, settings.max_words)

    survey = survey_sentences(read(), sentences.name, arguments.use_sentence_keys)
    if KINDS[output.suffix] == "hdf5" and has_index(arguments) and survey.index > LONGEST_TEXT:
        raise ValueError(
            f"{sentences.name}: sentence_to_index would have {survey.index:,} bytes, but a text in HDF5 has at most "
            f"{LONGEST_TEXT:,}; give --forget-sentences, or write .parquet or .safetensors"
        )
    record = PartialRecord(Path(f"{output}{PARTIAL}"), identity(arguments, settings, survey, model, tokenizer))
    if not is_finished(record, output):
        if output.exists() and not arguments.overwrite:
            with suppress(OSError):
                record.folder.rmdir()  # an empty one is left by a run that was killed in its last moment
            raise ValueError(EXISTS.format(output))
        record.claim(arguments.overwrite)
        with closing(record):
            print_notes(survey, sentences.name, note)
            check_space(output, survey, settings, model)
            results = compute(arguments, settings, survey, record.folder, model, read)
            publish(arguments, settings, record, results, output)
    report = record.read()["results"]
    remove_partial(record.folder)
    return {name: value for name, value in report.items() if name not in ("size", "time")}


def pooling_of(arguments: Namespace, model: ElmoModel) -> str:
    """Return how words become the vector of a sentence.

    Raises:
        `ValueError`: for attention without its weights, or of other vectors than those that they were trained with.
    """
    if arguments.vectors != SENTENCE:
        return "mean"
    chosen = arguments.pooling or model.config.sentence_pooling
    attention = model.sentence_pooling.attention
    if arguments.pooling == "attention" and (attention is None or not attention.score.weight.any()):
        raise ValueError(
            f"--pooling attention: {arguments.model} has no weights that were trained for it; give mean or max"
        )
    if chosen == "attention" and arguments.layers != "mix":
        raise ValueError("--pooling attention was trained on --layers mix, and weighs only that; give mean or max")
    return chosen


def has_index(arguments: Namespace) -> bool:
    """Return whether an HDF5 file has a `sentence_to_index`."""
    return not arguments.forget_sentences and not arguments.use_sentence_keys


def settings_of(arguments: Namespace, split: str, pooling: str) -> Settings:
    return Settings(
        model=arguments.model,
        layers=arguments.layers,
        vectors=arguments.vectors,
        pooling=pooling,
        dtype=arguments.dtype,
        split=split,
        device=arguments.device,
        words_per_batch=arguments.words_per_batch,
        words_per_part=arguments.words_per_part,
        max_words=arguments.max_words,
        carried_rows=(arguments.batch_size or CARRIED_ROWS) if arguments.carry_state else None,
    )


def survey_sentences(read: Iterator[Sentence | Problem], name: str, are_keys: bool) -> Survey:
    """Read an input once.

    Args:
        name: Name of the input in messages.
        are_keys: Whether sentences name HDF5 datasets.

    Raises:
        `ValueError`: if there is no sentence, or one cannot name a dataset.
    """
    survey, keys = Survey(), SentenceKeys(name)

    def contents() -> Iterator[tuple]:
        for one in read:
            if isinstance(one, Problem):
                survey.left_out += 1
                if len(survey.problems) < SHOWN_PROBLEMS:
                    survey.problems.append(one)
                yield one.entry.number, None
                continue
            if not one.words:
                survey.first_empty = survey.first_empty if survey.empty else one.number
                survey.empty += 1
            if are_keys:
                keys.add(one)
            survey.sentences += 1
            survey.words += len(one.words)
            survey.index += length_of_entry(one.text, str(one.number))
            yield one

    survey.digest = digest(contents())
    if not survey.sentences:
        problem = survey.problems[0] if survey.problems else None
        raise ValueError(
            f"{problem.entry.place}: {problem.reason}" if problem else f"{name}: there is no sentence in it"
        )
    return survey


class SentenceKeys:
    """Sentences as names of HDF5 datasets. A `/` in a sentence makes groups of datasets."""

    def __init__(self, name: str):
        self.name, self.numbers, self.groups = name, {}, set()

    def add(self, sentence: Sentence) -> None:
        text, number = sentence.text, sentence.number
        names = [name for name in text.split("/") if name not in ("", ".")]
        path, groups = "/".join(names), {"/".join(names[:count]) for count in range(1, len(names))}
        where = f"{self.name}: with --use-sentence-keys, sentence {number} (the first is 0)"
        if not names or "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(f"{where}, {text[:40]!a}, can name no dataset of HDF5")
        if path in self.numbers:
            raise ValueError(f"{where} must differ from all others, but is sentence {self.numbers[path]} again")
        if path in self.groups or groups & self.numbers.keys():
            raise ValueError(f"{where} and another one, of which one goes on after a slash, cannot both name datasets")
        self.numbers[path] = number
        self.groups |= groups


def identity(
    arguments: Namespace, settings: Settings, survey: Survey, model: ElmoModel, tokenizer: ElmoTokenizer
) -> dict[str, object]:
    """Return all on which the file depends, by names that messages show."""
    names = {name: f"--{name.replace('_', '-')}" for name in vars(settings)}
    options = {names[name]: value for name, value in vars(settings).items() if name not in ("model", "device")}
    keys = {"--forget-sentences": arguments.forget_sentences, "--use-sentence-keys": arguments.use_sentence_keys}
    weights = digest(part for named in sorted(model.state_dict().items()) for part in named)
    model_digest = digest([weights, configuration_digest(model.config), tokenizer_digest(tokenizer)])
    return {"input": survey.digest, "model": model_digest, **options, **keys}


def print_notes(survey: Survey, name: str, note: str) -> None:
    """Say on standard error how the input is read, and which sentences are left out."""
    lines = [note]
    lines += [f"left out: {problem.entry.place}: {problem.reason}" for problem in survey.problems]
    if survey.left_out > len(survey.problems):
        lines.append(f"left out: {survey.left_out - len(survey.problems):,} more")
    if survey.empty:
        lines.append(
            f"{name}: sentences without a word: {survey.empty:,}, the first is sentence {survey.first_empty} (from 0)"
        )
    print("\n".join(f"hf-elmo embed: {line}" for line in lines), file=sys.stderr)


def check_space(output: Path, survey: Survey, settings: Settings, model: ElmoModel) -> None:
    """Raise `ValueError` unless the parts and the file fit on the disk, beside the parts that are there."""
    rows = survey.sentences if settings.vectors == SENTENCE else survey.words
    layers = model.config.num_hidden_layers + 1 if settings.layers == "all" else 1
    needed = 2 * rows * layers * model.config.hidden_size * (2 if settings.dtype == "float16" else 4)
    there = sum(path.stat().st_size for path in Path(f"{output}{PARTIAL}").glob("part-*"))
    free = shutil.disk_usage(output.parent).free
    if needed - there > free:
        raise ValueError(
            f"{output.parent}: {needed - there:,} bytes are needed there while the command runs, half of them for the "
            f"file, but only {free:,} are free; --dtype float16 needs half"
        )


def compute(
    arguments: Namespace,
    settings: Settings,
    survey: Survey,
    folder: Path,
    model: ElmoModel,
    read: Callable[[], Iterator[Sentence | Problem]],
) -> dict[str, Any]:
    """Compute all parts, and return what to report."""
    computed, began = 0, time.monotonic()
    parts = read_parts(read(), settings.words_per_part, settings.carried_rows or 1)
    options = {"unit": "word", "unit_scale": True, "disable": None, "leave": False}
    with tqdm(total=survey.words, initial=words_stored(folder), **options) as bar:

        def progress(words: int) -> None:
            nonlocal computed
            computed += words
            bar.update(words)

        count = embed_parts(settings, folder, model, parts, progress, arguments.num_processes)
    seconds = time.monotonic() - began
    return {
        "output": arguments.output,
        "sentences": survey.sentences,
        "words": survey.words,
        "empty": survey.empty,
        "left_out": survey.left_out,
        "layers": arguments.layers,
        "vectors": settings.vectors,
        **({"pooling": settings.pooling} if settings.vectors == SENTENCE else {}),
        "dtype": settings.dtype,
        "width": model.config.hidden_size,
        "parts": count,
        "words_of_earlier_runs": survey.words - computed,
        "seconds": round(seconds, 3),
        "words_per_second": round(computed / seconds, 1),
    }


def publish(
    arguments: Namespace, settings: Settings, record: PartialRecord, results: dict[str, Any], output: Path
) -> None:
    """Write the parts as one file, and give it its name."""
    paths = [part_path(record.folder, number) for number in range(results["parts"])]
    needed, free = sum(path.stat().st_size for path in paths), shutil.disk_usage(output.parent).free
    if needed > free:  # the library of HDF5 would end the process
        raise ValueError(f"{output.parent}: {needed:,} bytes are needed for {output.name}, but only {free:,} are free")
    unfinished = record.folder / f"file{UNFINISHED}"
    write_file(
        unfinished,
        KINDS[output.suffix],
        paths,
        of_sentences=settings.vectors == SENTENCE,
        sentence_keys=arguments.use_sentence_keys,
        with_index=has_index(arguments),
    )
    status = unfinished.stat()
    record.finish({**results, "size": status.st_size, "time": status.st_mtime_ns})
    os.replace(unfinished, output)


def is_finished(record: PartialRecord, output: Path) -> bool:
    """Return whether this very run made the file at `output`, and was killed before it removed its parts."""
    if not record.has_ended() or not output.is_file():
        return False
    results, status = record.read()["results"], output.stat()
    return (results["size"], results["time"]) == (status.st_size, status.st_mtime_ns)


def remove_partial(folder: Path) -> None:
    """Remove what a run wrote to its folder, and the folder, unless somebody else's files are in it."""
    for path in [*folder.glob("part-*"), *folder.glob(f"*{UNFINISHED}"), folder / LOCK_FILE, folder / RUN_FILE]:
        path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
