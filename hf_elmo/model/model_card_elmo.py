# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The model card: what a stranger must know of a model, and nothing that is not known.

A card is front matter, which the Hub validates, and Markdown. Facts about the weights (license, language, data sets,
where they come from, what was measured) are the caller's, or stand in the card of the model that these weights were
trained from; the rest is read off the configuration.
"""

import re
from typing import NamedTuple

from huggingface_hub import EvalResult, ModelCard, ModelCardData

PAPER = "[Peters et al. 2018](https://arxiv.org/abs/1802.05365)"
VECTORS = """\
batch = tokenizer(["I went to the river bank.", "The bank was closed."], padding=True, return_tensors="pt")
vectors = model(**batch).last_hidden_state  # (sentences, words with <S> and </S>, {hidden_size})"""
WORD_LABELS = """\
batch = tokenizer("I went to the river bank.", return_tensors="pt")
labels = [model.config.id2label[label] for label in model(**batch).logits.argmax(-1)[0].tolist()]  # one a word"""
TEXT_LABEL = """\
batch = tokenizer("I went to the river bank.", return_tensors="pt")
label = model.config.id2label[model(**batch).logits.argmax(-1).item()]"""
ANSWER = """\
batch = tokenizer("Where did I go?", "I went to the river bank.", return_tensors="pt")
scores = model(**batch)
first, last = scores.start_logits.argmax(), scores.end_logits.argmax()  # of the words of the answer"""


class ClassFacts(NamedTuple):
    """What the card of a model says by its class."""

    purpose: str
    auto_class: str  # that opens it
    task: str  # the Hub's name of what it does
    usage: str


LANGUAGE_MODEL = ClassFacts(
    "gives every word a vector, and predicts it from what is before and behind it",
    "AutoModel",
    "feature-extraction",
    VECTORS,
)
CLASSES = {
    "ElmoModel": ClassFacts("gives every word a vector", "AutoModel", "feature-extraction", VECTORS),
    "ElmoForPreTraining": LANGUAGE_MODEL,
    "ElmoForMaskedLM": LANGUAGE_MODEL,
    "ElmoForTokenClassification": ClassFacts(
        "labels every word", "AutoModelForTokenClassification", "token-classification", WORD_LABELS
    ),
    "ElmoForSequenceClassification": ClassFacts(
        "labels a text, or a pair of texts", "AutoModelForSequenceClassification", "text-classification", TEXT_LABEL
    ),
    "ElmoForQuestionAnswering": ClassFacts(
        "finds the answer to a question in a text", "AutoModelForQuestionAnswering", "question-answering", ANSWER
    ),
}

ORIGIN = "Where the weights come from"
TOKENIZATION = "How the training text was split into words"
UNRECORDED = "This is not recorded."
SENTENCES = (
    "Sentences may have any length: they are cut only if the tokenizer is told to (`truncation=True, max_length=`, "
    "counted in words). The boundary words `<S>` and `</S>` are added to each."
)
# Cards that saving wrote by itself have this mark. They give way to any other; all others are left as they are.
AUTOMATIC = "<!-- This card was filled automatically. Remove this line, and what you write here is kept. -->"


def model_card(
    name: str,
    config,
    architecture: str = "ElmoModel",
    *,
    num_parameters: int | None = None,
    origin: str | None = None,
    tokenization: str | None = None,
    training: str | None = None,
    **metadata,
) -> ModelCard:
    """The card of a model.

    Args:
        name: Its name on the Hub, or the folder's.
        config ([`ElmoConfig`]): Its configuration.
        architecture: Name of its class.
        num_parameters: Number of its parameters.
        origin: Where the weights come from: corpus, authors, command, files. Markdown.
        tokenization: How the text of the training corpus was split into words. Markdown.
        training: How it was trained, with what settings and results on the way. Markdown.
        metadata: Front matter as [`~huggingface_hub.ModelCardData`] takes it: `license`, `language`, `datasets`,
            `base_model`, `eval_results`, ... Measured results are shown in a table too.
    """
    purpose, auto_class, task, usage = CLASSES[architecture]
    data = front_matter(name, pipeline_tag=task, **metadata)
    usage = usage.format(hidden_size=config.hidden_size)
    sections = {
        "How to use it": f"""\
The code travels with the weights, so transformers and torch are all it needs. Where the package hf-elmo is installed,
`import hf_elmo` first, and leave `trust_remote_code` out.

```python
from transformers import {auto_class}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}", trust_remote_code=True)
model = {auto_class}.from_pretrained("{name}", trust_remote_code=True)
{usage}
```""",
        "Model": table(("", ""), describe_sizes(config, num_parameters)),
        "Words and characters": describe_input(config.max_characters_per_token),
        TOKENIZATION: tokenization
        or f"{UNRECORDED} The tokenizer splits raw text like the Penn Treebank, punctuation and clitics apart.",
        ORIGIN: origin or UNRECORDED,
        "Training": training,
        "Results": results_table(data.eval_results),
        "Citation": CITATION,
    }
    introduction = f"An ELMo model ({PAPER}): it {purpose}, from the word's characters and its whole sentence."
    return assemble(data, f"# {name}\n\n{introduction}", sections)


def parts_card(name: str, width: int) -> ModelCard:
    """The card of a repository without weights: a tokenizer or a configuration for rows of `width` characters."""
    usage = f"""\
```python
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}", trust_remote_code=True)
batch = tokenizer(["I went to the river bank.", "The bank was closed."], padding=True, return_tensors="pt")
```"""
    sections = {"How to use it": usage, "Words and characters": describe_input(width), "Citation": CITATION}
    introduction = f"# {name}\n\nParts of an ELMo model ({PAPER}), without weights."
    return with_automatic_mark(assemble(front_matter(name), introduction, sections))


def front_matter(name: str, **metadata) -> ModelCardData:
    """What the Hub validates. A license that is not known is `unknown`, which is one of the Hub's words for it."""
    tags = ["elmo", *(metadata.pop("tags", None) or [])]
    license = metadata.pop("license", None) or "unknown"
    if results := metadata.get("eval_results"):
        metadata = {"model_name": name, "metrics": sorted({result.metric_type for result in results}), **metadata}
    return ModelCardData(library_name="transformers", license=license, tags=tags, **metadata)


def assemble(data: ModelCardData, introduction: str, sections: dict[str, str | None]) -> ModelCard:
    body = [introduction, *(f"## {title}\n\n{text.strip()}" for title, text in sections.items() if text)]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(body) + "\n")


def describe_sizes(config, num_parameters: int | None) -> list[tuple[str, str]]:
    def clip(bound):
        return "not clipped" if bound is None else f"clipped at {bound:g}"

    rows = [] if num_parameters is None else [("parameters", f"{num_parameters:,}")]
    if getattr(config, "quantization_config", None):
        rows.append(("matrices", "of 8 bits, with a scale for each row; inputs are rounded likewise"))
    rows += [
        ("layers", f"{config.num_hidden_layers} biLSTM layers over context-free word vectors"),
        ("width of a vector", f"{config.hidden_size}, both directions of {config.projection_size} side by side"),
        ("LSTM cell", f"{config.cell_size} wide, {clip(config.cell_clip)}; projection {clip(config.projection_clip)}"),
        ("skip connections", "yes" if config.use_skip_connections else "no"),
    ]
    if config.char_cnn_filters:
        widths = ", ".join(f"{count} of width {width}" for width, count in config.char_cnn_filters)
        rows += [
            ("character CNN", f"{config.char_features} filters ({widths}), {config.char_cnn_activation}"),
            ("highway layers", str(config.num_highway_layers)),
        ]
    if config.word_vocab_size:
        rows.append(("language-model head", f"{config.word_vocab_size:,} words, shared by both directions"))
    return rows


def describe_input(width: int) -> str:
    """The character scheme and the truncation rule of a model whose words have rows of `width` ids."""
    if width == 1:
        return (
            "The model reads whole words: a word's id is its place in `vocab.txt` plus one, or that of `<UNK>`.\n\n"
        ) + SENTENCES
    return (
        "The model reads characters; it knows no vocabulary, no lower-casing and no normalization. A character is a "
        f"byte of UTF-8, its id the byte plus one. A word is a row of {width} ids: begin of word (259), its bytes, end "
        "of word (260), then padding (261); a row of zeros is no word.\n\n"
        f"**A word of more than {width - 2} bytes is cut to its first {width - 2}.** "
    ) + SENTENCES


def results_table(results: list[EvalResult] | None) -> str | None:
    if not results:
        return None
    rows = [
        (r.dataset_name, r.dataset_split or "", r.metric_name or r.metric_type, number(r.metric_value)) for r in results
    ]
    return table(("data", "split", "measure", "value"), rows)


def number(value) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *rows))


def section(card: ModelCard, title: str) -> str | None:
    """The text under a heading of the second level, if it says anything."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", card.text, flags=re.MULTILINE | re.DOTALL)
    text = found and found.group(1).replace(AUTOMATIC, "").strip()
    return None if not text or text.startswith(UNRECORDED) else text


def is_automatic(card: ModelCard) -> bool:
    return AUTOMATIC in card.text


def with_automatic_mark(card: ModelCard) -> ModelCard:
    card.text = f"{card.text.rstrip()}\n\n{AUTOMATIC}\n"
    return card


def inherited_facts(card: ModelCard | None, source: str, changed: bool) -> dict:
    """What the card of the model `source` says that holds for a model with its weights too: facts for `model_card`.

    Args:
        card: The card of that model, if it has one.
        source: What it is called.
        changed: Whether the weights are others by now.
    """
    origin = f"{'They were made from' if changed else 'They are'} those of `{source}`."
    if card is None:
        return {"origin": origin}
    facts = {key: card.data.get(key) for key in ("license", "license_name", "license_link", "language", "datasets")}
    if before := section(card, ORIGIN):
        origin = f"{origin} Of that model's weights its card says:\n\n{before}"
    return {**facts, "origin": origin, "tokenization": section(card, TOKENIZATION)}


def renamed(card: ModelCard, name: str) -> ModelCard:
    """The same card with another name, in its title and where it is opened."""
    card = ModelCard(card.content)
    title = re.search(r"^# (.+)$", card.text, flags=re.MULTILINE)
    if title:
        old = title.group(1)
        card.text = card.text.replace(f"# {old}\n", f"# {name}\n", 1)
        card.text = card.text.replace(f'from_pretrained("{old}"', f'from_pretrained("{name}"')
    if card.data.eval_results:
        card.data.model_name = name
    return card


CITATION = """\
```bibtex
@inproceedings{peters-etal-2018-deep,
    title = "Deep Contextualized Word Representations",
    author = "Peters, Matthew E. and Neumann, Mark and Iyyer, Mohit and Gardner, Matt and Clark, Christopher and
              Lee, Kenton and Zettlemoyer, Luke",
    booktitle = "Proceedings of NAACL-HLT 2018",
    year = "2018"
}
```"""
