# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The command `hf-elmo inspect`: tables with plots beside them, of what a model has learnt."""

import difflib
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from ..plots import INSTALL, check_plot_file, has_matplotlib, save
from .report import Findings, write_page


class Topic(NamedTuple):
    """A topic: its module and function, what it shows, and the options that it reads."""

    module: str
    summary: str
    options: tuple[str, ...]


CORPUS_OPTIONS = ("corpus", "split", "max_sentences")
WORD_OPTIONS = ("word", *CORPUS_OPTIONS, "max_occurrences", "layer")
TOPICS = {
    "layers": Topic("layers", "weights of the layers in the mixes of one or more models (default)", ()),
    "senses": Topic("senses", "nearest occurrences of a word in a corpus", (*WORD_OPTIONS, "text", "top_k")),
    "map": Topic("senses", "map of a word's occurrences in each layer", (*WORD_OPTIONS, "color", "clusters", "method")),
    "contextuality": Topic(
        "contextuality", "how much each layer depends on the context", (*CORPUS_OPTIONS, "max_words")
    ),
    "wsd": Topic(
        "word_senses",
        "word sense disambiguation by each layer",
        ("train", "test", "gold", "max_sentences", "neighbors"),
    ),
    "wic": Topic("word_senses", "words in context: one meaning or two, by each layer", ("train", "test", "gold")),
    "attribution": Topic(
        "attribution", "which words a prediction comes from", ("text", "second", "target", "word", "steps")
    ),
}
DEFAULTS = {"max_occurrences": 500, "max_words": 500, "top_k": 10, "clusters": 3, "method": "pca", "steps": 50}
FILES = ("corpus", "train", "test", "gold")
SENTENCES = {"wsd": sys.maxsize, "contextuality": 5000}  # read at most; elsewhere 20,000


def add_arguments(parser: ArgumentParser) -> None:
    width = max(map(len, TOPICS))
    topics = "\n".join(f"  {name:{width}}  {topic.summary}" for name, topic in TOPICS.items())
    parser.epilog = f"topics:\n{topics}\n\nexit codes: 0 success, 2 something to correct, 130 interrupted."
    parser.add_argument("topics", metavar="TOPIC", nargs="*", help="what to look at, see below; by default layers")
    parser.add_argument(
        "--model",
        metavar="M",
        action="append",
        required=True,
        help="folder or Hub name of a model; for layers, one or more",
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the topic's plot, .png or .svg")
    parser.add_argument("--html", metavar="FILE", help="write all tables and plots as one self-contained page")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of tables")
    text = parser.add_argument_group("texts")
    text.add_argument(
        "--corpus",
        metavar="FILE",
        help="a sentence per line; senses, map: or a table with the columns index, sentence and sense",
    )
    text.add_argument("--split", help="rule that splits lines into words; by default as in hf-elmo perplexity")
    text.add_argument(
        "--max-sentences",
        type=int,
        metavar="N",
        help="sentences to read, at most (20,000; contextuality: 5,000; wsd: all)",
    )
    text.add_argument("--train", metavar="FILE", help="wsd, wic: annotated training text, as SemCor or WiC has it")
    text.add_argument("--test", metavar="FILE", help="wsd, wic: annotated test text")
    text.add_argument("--gold", metavar="FILE", help="wsd, wic: answers of the test text; by default those beside it")
    text.add_argument("--text", metavar="TEXT", help="senses: a sentence with the word; attribution: the text")
    text.add_argument(
        "--second", metavar="TEXT", help="attribution: second text of a pair, or the context of a question"
    )
    more = parser.add_argument_group("options of topics")
    more.add_argument(
        "--word", metavar="WORD", help="senses, map: the word; attribution: the word whose label is explained"
    )
    more.add_argument(
        "--layer",
        metavar="LAYER",
        help="senses, map: layer by which occurrences are ranked or grouped: a number, top (default) or mix",
    )
    more.add_argument("--top-k", type=int, metavar="N", help="senses: occurrences to list (10)")
    more.add_argument(
        "--max-occurrences", type=int, metavar="N", help="senses, map: occurrences to compare, at most (500)"
    )
    more.add_argument(
        "--color",
        choices=("sense", "cluster", "previous", "next", "word"),
        help="map: color by sense (default, if the corpus has them), cluster, neighboring word, or form of the word",
    )
    more.add_argument("--clusters", type=int, metavar="N", help="map: number of clusters (3)")
    more.add_argument("--method", choices=("pca", "tsne", "umap"), help="map: projection to two dimensions (pca)")
    more.add_argument(
        "--neighbors",
        type=int,
        metavar="K",
        help="wsd: let the K nearest annotated words vote; by default the nearest mean vector of a sense decides",
    )
    more.add_argument("--max-words", type=int, metavar="N", help="contextuality: words to compare, at most (500)")
    more.add_argument("--target", metavar="LABEL", help="attribution: label to explain; by default the predicted one")
    more.add_argument("--steps", type=int, metavar="N", help="attribution: steps of integrated gradients (50)")


def run(arguments: Namespace) -> None:
    """Print the tables of the topics, and draw their plots."""
    topics = arguments.topics or ["layers"]
    check(arguments, topics)
    found = [inspect(topic, arguments) for topic in topics]
    if arguments.plot is not None:
        save(found[0].draw(), arguments.plot)
    if arguments.html is not None:
        write_page(arguments.html, f"Inspection of {', '.join(Path(name).name for name in arguments.model)}", found)
    if arguments.json:
        print(json.dumps({"model": arguments.model, **{one.topic: one.facts for one in found}}, ensure_ascii=False))
        return
    print("\n\n".join(one.text() for one in found))
    if arguments.html is not None and not has_matplotlib():
        print(f"\n{arguments.html} has no plots: {INSTALL}")


def check(arguments: Namespace, topics: list[str]) -> None:
    """Check the options before anything is loaded.

    Raises:
        `ValueError`: in one line, for unknown topics, options that none of the topics reads, and files that cannot be
            written.
    """
    for topic in topics:
        if topic not in TOPICS:
            near = difflib.get_close_matches(topic, TOPICS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected some of {', '.join(TOPICS)}"
            raise ValueError(f"{topic}: no such topic; {hint}")
    read = {name for topic in topics for name in TOPICS[topic].options}
    for name in sorted({name for topic in TOPICS.values() for name in topic.options} - read):
        if getattr(arguments, name) is not None:
            readers = [topic for topic, known in TOPICS.items() if name in known.options]
            raise ValueError(f"--{name.replace('_', '-')} is for {', '.join(readers)}, not for {', '.join(topics)}")
    for name in ("max_sentences", "max_occurrences", "max_words", "top_k", "clusters", "neighbors", "steps"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, but is {value}")
    if arguments.plot is not None:
        if len(topics) > 1:
            raise ValueError(f"--plot draws one topic, not {len(topics)}: --html FILE takes all of them")
        check_plot_file(arguments.plot)
    read_files = {Path(path).resolve() for path in (getattr(arguments, name) for name in FILES) if path is not None}
    if arguments.html is not None and Path(arguments.html).resolve() in read_files:
        raise ValueError(f"--html {arguments.html}: this is an input; give another file")
    if arguments.html is not None and not Path(arguments.html).resolve().parent.is_dir():
        raise ValueError(f"--html {arguments.html}: there is no folder {Path(arguments.html).parent}")


def inspect(topic: str, arguments: Namespace) -> Findings:
    """Return what a topic finds. Its module is imported now, as another topic should not wait for it."""
    options = Namespace(**vars(arguments))
    for name, default in {**DEFAULTS, "max_sentences": SENTENCES.get(topic, 20_000)}.items():
        if getattr(options, name) is None:
            setattr(options, name, default)
    module = import_module(f".{TOPICS[topic].module}", __package__)
    function: Callable[[Namespace], Findings] = getattr(module, f"inspect_{topic}")
    return function(options)
