# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The model card: the facts that a stranger needs about a model, and no guesses.

Facts about the weights (license, language, datasets, origin, results) are given by the caller or inherited from the
card of the model that these weights were trained from. The rest is read from the configuration. A mixin for models
writes the card when they are saved or pushed; one that a person wrote is never overwritten.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, hf_hub_download
from torch import nn
from transformers.utils import PushToHubMixin

from .auto_map_elmo import WITHOUT_AUTO_CLASS
from .configuration_elmo import PAIR_ENCODERS, ElmoConfig
from .saved_folder_elmo import check_is_saved

CARD = "README.md"
ORIGIN = "Where the weights come from"
TOKENIZATION = "How the training text was split into words"
MOST_LABELS = 200  # that a card lists
UNRECORDED = "This is not recorded."


class ClassFacts(NamedTuple):
    """Facts of a model class for its card: its purpose, and its task as the Hub calls it."""

    purpose: str
    task: str


BILM = ClassFacts("gives every word a vector, and predicts it from the words before and after it", "feature-extraction")
CLASSES = {
    "ElmoModel": ClassFacts("gives every word a vector", "feature-extraction"),
    "ElmoForPreTraining": BILM,
    "ElmoForMaskedLM": BILM,
    "ElmoForCausalLM": ClassFacts("continues texts: it predicts each word from the words before it", "text-generation"),
    "ElmoForTokenClassification": ClassFacts("labels every word", "token-classification"),
    "ElmoForSequenceClassification": ClassFacts("labels a text, or a pair of texts", "text-classification"),
    "ElmoForMultipleChoice": ClassFacts("says which of several texts is right", "multiple-choice"),
    "ElmoForQuestionAnswering": ClassFacts("finds the answer to a question in a text", "question-answering"),
    "ElmoForSeq2SeqLM": ClassFacts("is read by a decoder, which writes another text", "text2text-generation"),
    "ElmoForCoreferenceResolution": ClassFacts("finds which words of a document mean the same", "other"),
    "ElmoForSpanClassification": ClassFacts("labels spans of words, or pairs of spans", "other"),
}
USAGE = {
    "feature-extraction": """\
batch = tokenizer(["I went to the river bank.", "The bank was closed."], padding=True, return_tensors="pt")
vectors = model(**batch).last_hidden_state  # (sentences, words with <S> and </S>, {config.hidden_size})""",
    "text-generation": """\
batch = tokenizer("I went to the", return_tensors="pt")
text = tokenizer.batch_decode(model.generate(**batch, max_new_tokens=5), skip_special_tokens=True)[0]""",
    "text2text-generation": """\
target = AutoTokenizer.from_pretrained("{name}", subfolder="target")  # of the text that the decoder writes
batch = tokenizer("I went to the river bank.", return_tensors="pt")
text = target.batch_decode(model.generate(**batch), skip_special_tokens=True)[0]""",
    "token-classification": """\
batch = tokenizer("I went to the river bank.", return_tensors="pt"){predicate}
labels = [model.config.id2label[label] for label in model(**batch).logits.argmax(-1)[0].tolist()]  # one per word""",
    "text-classification": """\
batch = tokenizer({texts}, return_tensors="pt")
label = model.config.id2label[model(**batch).logits.argmax(-1).item()]""",
    "multiple-choice": """\
question, choices = "I went to the river", ["bank .", "letter ."]
batch = tokenizer([question] * len(choices), choices, padding=True, return_tensors="pt")
best = model(**{{name: values[None] for name, values in batch.items()}}).logits.argmax(-1).item()  # a number from 0""",
    "question-answering": """\
batch = tokenizer("Where did I go?", "I went to the river bank.", return_tensors="pt")
output = model(**batch)
first, last = model.best_spans(output.start_logits, output.end_logits)[0].tolist()  # of words; 0, 0 is "no answer"
answer = tokenizer.decode(batch["input_ids"][0, first : last + 1], skip_special_tokens=True)""",
    "ElmoForSpanClassification": """\
batch = tokenizer("Ada went to the river.", return_tensors="pt")
spans = [[[1, 1], [4, 5]][: model.config.spans_per_label]]  # "Ada", "the river": the words' places behind <S>
logits = model(**batch, spans=batch["input_ids"].new_tensor([spans])).logits""",
    "ElmoForCoreferenceResolution": """\
clusters = model.find_clusters(tokenizer, ["Ada went to the river.", "She saw it."])  # of mentions, by sentence""",
}
PREDICATE = """
batch["token_type_ids"] = (batch["attention_mask"].cumsum(1) == 3).long()  # 1 at the predicate, here "went\""""
CARD_TEXT = """\
# {name}

An ELMo model ([Peters et al. 2018](https://arxiv.org/abs/1802.05365)), which reads the characters of each word and the
whole sentence around it. It {facts.purpose}.

## How to use it

The code is saved with the weights, so transformers and torch are all that is needed. Where the package hf-elmo is
installed, `import hf_elmo` first and leave `trust_remote_code` out.

```python
{imports}

tokenizer = AutoTokenizer.from_pretrained("{name}", trust_remote_code=True)
model = {auto_class}.from_pretrained("{name}", trust_remote_code=True)
{usage}
```

## Model

{sizes}

## Words and characters

{scheme} Sentences may have any length: they are truncated only on request (`truncation=True, max_length=`, counted in
words). The special tokens {specials} are added to each sentence.
"""
IMPORT_BY_REFERENCE = """\
from transformers import AutoTokenizer
from transformers.dynamic_module_utils import get_class_from_dynamic_module

{auto_class} = get_class_from_dynamic_module("{reference}", "{name}")"""
CHARACTERS = """\
The model reads characters; there is no vocabulary, no lower-casing and no normalization. A character is a byte of
UTF-8, its id the byte plus one. A word is a row of {width} ids: begin of word (259), its bytes, end of word (260), then
padding (261); a row of zeros is padding between words.

**A word of more than {longest} bytes is cut to its first {longest}.**"""
CODE_POINTS = """\
The model reads characters by the dictionary that the tokenizer carries (`dictionaries.json`), without lower-casing or
normalization; a character that is not in it has the id of `<oov>`. A word is a row of {width} ids, with padding at its
end{words}; a row of zeros is padding between words. As in ELMoForManyLangs, the ids of `<bow>` and `<eow>` are
exchanged, and the special tokens of a sentence are `<bos>` and `<eos>`. Conversion between simplified and traditional
Chinese characters is left to the user.

**A word of more than {longest} characters is cut to its first {longest}.**"""
FEATURES = (
    "After these, each row has {count} ids of the whole word and of its characters by the vocabularies in "
    "`word_features.json`, which the head's own embeddings read."
)
WORDS = "The model reads whole words: a word's id is its line number in `vocab.txt`, or that of `<UNK>`."
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


def describe_characters(config: ElmoConfig) -> str:
    """Return what a reader must know about words and characters."""
    width = config.max_characters_per_token
    if not config.char_cnn_filters:
        return WORDS
    words = ", then the id of the word, which has an embedding of its own" if config.word_embedding_size else ""
    text = CODE_POINTS if config.character_scheme == "codepoints" else CHARACTERS
    text = text.format(width=width, longest=width - 2, words=words)
    return f"{text} {FEATURES.format(count=config.feature_ids)}" if config.feature_ids else text


def model_card(
    name: str,
    config: ElmoConfig,
    architecture: str = "ElmoModel",
    *,
    num_parameters: int | None = None,
    origin: str | None = None,
    tokenization: str | None = None,
    training: str | None = None,
    **metadata,
) -> ModelCard:
    """Fill the card of a model.

    Args:
        name: Its name on the Hub, or its folder's.
        config: Its configuration.
        architecture: Name of its class.
        num_parameters: Number of its parameters.
        origin: Where the weights come from: corpus, authors, command, files. Markdown.
        tokenization: How the text of the training corpus was split into words. Markdown.
        training: How it was trained, with settings and intermediate results. Markdown.
        metadata: Front matter, as [`~huggingface_hub.ModelCardData`] expects it: `license`, `language`, `datasets`,
            `base_model`, `eval_results`, ... Evaluation results also become a table.
    """
    facts, results = CLASSES[architecture], metadata.get("eval_results")
    metadata = {key: value for key, value in metadata.items() if value is not None}
    metadata |= {"license": metadata.get("license", "unknown"), "tags": ["elmo", *metadata.get("tags", [])]}
    if results:
        metadata |= {"model_name": name, "metrics": sorted({result.metric_type for result in results})}
    data = ModelCardData(library_name="transformers", pipeline_tag=facts.task, **metadata)
    texts = '"I went to the river bank."' + (', "I was outdoors."' if config.sequence_encoder in PAIR_ENCODERS else "")
    sections = {
        TOKENIZATION: tokenization or f"{UNRECORDED} The tokenizer splits raw text like the Penn Treebank.",
        ORIGIN: origin or UNRECORDED,
        "Training": training,
        "Results": results and results_table(results),
        "Citation": CITATION,
    }
    auto_class = "AutoModel" if facts.task == "feature-extraction" else architecture.replace("Elmo", "AutoModel")
    imports = "from transformers import {auto_class}, AutoTokenizer"
    for reference in WITHOUT_AUTO_CLASS:
        if reference.endswith(f".{architecture}"):
            auto_class, imports = architecture, IMPORT_BY_REFERENCE.replace("{reference}", reference)
    text = CARD_TEXT.format(
        name=name,
        facts=facts,
        auto_class=auto_class,
        imports=imports.format(auto_class=auto_class, name=name),
        usage=USAGE.get(architecture, USAGE.get(facts.task)).format(
            config=config, texts=texts, name=name, predicate=PREDICATE * bool(config.predicate_feature_size)
        ),
        sizes=table(("", ""), [*describe_sizes(config, num_parameters), *describe_labels(config, facts.task)]),
        scheme=describe_characters(config),
        specials="`<bos>` and `<eos>`" if config.character_scheme == "codepoints" else "`<S>` and `</S>`",
    )
    text += "".join(f"\n## {title}\n\n{section.strip()}\n" for title, section in sections.items() if section)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")


def describe_sizes(config: ElmoConfig, num_parameters: int | None) -> list[tuple[str, str]]:
    """Return the names and values of the sizes by which models are compared."""
    bounds = ("not clipped" if c is None else f"clipped at {c:g}" for c in (config.cell_clip, config.projection_clip))
    filters = ", ".join(f"{count} of width {width}" for width, count in config.char_cnn_filters)
    rows = {
        "parameters": num_parameters and f"{num_parameters:,}",
        "matrices": getattr(config, "quantization_config", None) and "of 8 bits, with a scale for each row",
        "layers": f"{config.num_hidden_layers} biLSTM layers over context-free word vectors",
        "width of a vector": f"{config.hidden_size}, both directions of {config.projection_size} side by side",
        "LSTM cell": "{} wide, {}; projection {}".format(config.cell_size, *bounds),
        "skip connections": "yes" if config.use_skip_connections else "no",
        "character CNN": filters and f"{config.char_features} filters ({filters}), {config.char_cnn_activation}",
        "highway layers": filters and str(config.num_highway_layers),
        "aligned to another language": ", ".join(f"layer {layer}" for layer in config.aligned_layers),
        "language-model head": config.word_vocab_size and f"{config.word_vocab_size:,} words, for both directions",
    }
    return [(name, value) for name, value in rows.items() if value]


def describe_labels(config: ElmoConfig, task: str) -> list[tuple[str, str]]:
    """Return a row with the names of a head's labels in the order of their ids, where they have names."""
    names = [str(name).replace("|", "\\|") for _, name in sorted(config.id2label.items())]
    if task not in ("token-classification", "text-classification") or "LABEL_0" in names:
        return []
    return [("labels", ", ".join(f"`{name}`" for name in names[:MOST_LABELS]) + ", ..." * (len(names) > MOST_LABELS))]


def results_table(results: list[EvalResult]) -> str:
    """Return evaluation results as a Markdown table."""
    values = [round(r.metric_value, 4) if isinstance(r.metric_value, float) else r.metric_value for r in results]
    names = [(r.dataset_name, r.dataset_split or "", r.metric_name or r.metric_type) for r in results]
    return table(("data", "split", "metric", "value"), [(*name, str(value)) for name, value in zip(names, values)])


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *rows))


# ---- the card of a saved model

# A card with one of these lines was filled by this file, or from transformers' template, and may be replaced.
AUTOMATIC = "<!-- This card was filled automatically. Remove this line, and what you write here is kept. -->"
TEMPLATE = "that has been pushed on the Hub. This model card has been automatically generated."
SavedModel = TypeVar("SavedModel", bound="ModelCardMixin")


class ModelCardMixin(PushToHubMixin):
    """Mixin for models, before `PreTrainedModel`: `save_pretrained` and `push_to_hub` also write a card."""

    trained_from: str | None = None  # folder or repository whose weights these are, or were before training
    loaded_weights: list[float] | None = None  # a sample of them, to see whether they were changed

    @classmethod
    def from_pretrained(
        cls: type[SavedModel], pretrained_model_name_or_path: str | Path | None, *args, **kwargs
    ) -> SavedModel:
        if kwargs.get("config") is None:
            check_is_saved(pretrained_model_name_or_path, kwargs.get("subfolder"))
        name, options = pretrained_model_name_or_path, {**kwargs}
        loaded = super().from_pretrained(name, *args, **kwargs)
        model, info = loaded if isinstance(loaded, tuple) else (loaded, {})
        model.trained_from = name and str(name)
        model.loaded_weights = sample_of_weights(model)
        model.after_loading(options, info)
        return loaded

    def after_loading(self, options: dict, info: dict) -> None:
        """Finish `from_pretrained`: `options` are its arguments, and `info` is what it reports, if it was asked to."""

    def save_pretrained(
        self, save_directory: str | Path, is_main_process: bool = True, *args, push_to_hub: bool = False, **kwargs
    ):
        """Save as any model of transformers, with code and a card; a card that a person wrote there is kept."""
        keys = ("repo_id", "commit_message", "private", "create_pr")
        for_hub = {key: kwargs.pop(key) for key in keys if key in kwargs}
        name = Path(save_directory).resolve().name
        card = self.card(name)  # before saving, which sets `config.architectures`
        super().save_pretrained(save_directory, is_main_process, *args, **kwargs)
        if is_main_process and may_replace(read_card(save_directory)):
            card.save(Path(save_directory) / CARD)
        if is_main_process and push_to_hub:
            self.push_to_hub(for_hub.pop("repo_id", name), token=kwargs.get("token"), **for_hub)

    def _upload_modified_files(self, working_dir: str | Path, repo_id: str, *args, **kwargs):
        # Called by `push_to_hub` once the folder holds the repository's card or, if there is none, a template.
        present = read_card(working_dir)
        if may_replace(present):
            card = self.card(repo_id, online=True)
            tags = [*card.data["tags"], *((present and present.data.get("tags")) or [])]
            card.data["tags"] = list(dict.fromkeys(tags))
            card.save(Path(working_dir) / CARD)
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)

    def config_of_card(self) -> ElmoConfig:
        """Return the configuration that the card describes."""
        return self.config

    def card(self, name: str, online: bool = False, **facts) -> ModelCard:
        """Fill the model's card, under its name on the Hub or its folder's, from its configuration and the card of the
        model it was loaded from, which may be fetched if `online`. `facts` for `model_card` override that card's."""
        architecture = next(parent.__name__ for parent in type(self).__mro__ if parent.__name__ in CLASSES)
        facts = {key: fact for key, fact in facts.items() if fact is not None}
        if self.trained_from is not None:
            changed = sample_of_weights(self) != self.loaded_weights
            is_folder = Path(self.trained_from).exists()
            source = read_card(self.trained_from) if is_folder else fetch_card(self.trained_from, online)
            if source and not source.data.to_dict():
                source = None  # notes, which were not meant as a card
            if source and not changed and not facts and self.config.architectures == [architecture]:
                return renamed(source, name)
            known_as = Path(self.trained_from).resolve().name if is_folder else self.trained_from
            facts = {**inherited_facts(source, known_as, changed), **facts}
            if not is_folder and "/" in self.trained_from:
                facts.setdefault("base_model", self.trained_from)
        card = model_card(name, self.config_of_card(), architecture, num_parameters=self.num_parameters(), **facts)
        card.text = f"{card.text.rstrip()}\n\n{AUTOMATIC}\n"
        return card


def sample_of_weights(model: nn.Module) -> list[float]:
    """Return up to 64 numbers of each parameter: autograd's version counters miss the steps of fused optimizers."""
    plain = (
        weight.detach().flatten()
        for weight in model.parameters()
        if type(weight) is nn.Parameter and not weight.is_meta
    )
    return [number for weight in plain for number in weight[:: weight.numel() // 64 + 1].tolist()]


def read_card(folder: str | Path) -> ModelCard | None:
    """Return the card of a folder, if it has one; a card without readable front matter is all text."""
    path = Path(folder) / CARD
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    card = ModelCard("---\n{}\n---\n")
    card.text = text
    try:
        return ModelCard(text, ignore_metadata_errors=True) if text.startswith("---") else card
    except (ValueError, yaml.YAMLError):
        return card


def fetch_card(repository: str, online: bool) -> ModelCard | None:
    """Return the card of a repository, if it has one; offline, only if it was fetched before."""
    try:
        return read_card(Path(hf_hub_download(repository, CARD, local_files_only=not online)).parent)
    except (OSError, ValueError):  # the repository is gone, renamed or private, or there is no network
        return None


def may_replace(card: ModelCard | None) -> bool:
    """Return whether a saved model may replace this card: no person wrote it, and it reports no results."""
    return card is None or (is_automatic(card) and not card.data.get("eval_results"))


def is_automatic(card: ModelCard) -> bool:
    """Return whether no person wrote this card."""
    return AUTOMATIC in card.text or TEMPLATE in card.text


def section(card: ModelCard, title: str) -> str | None:
    """Return the text under a heading of the second level, or None if it says nothing."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", card.text, flags=re.MULTILINE | re.DOTALL)
    text = found and found.group(1).replace(AUTOMATIC, "").strip()
    return None if not text or text.startswith(UNRECORDED) else text


def inherited_facts(card: ModelCard | None, source: str, changed: bool) -> dict:
    """Return the facts for `model_card` that a model inherits from the one whose weights it started from: by that one's
    card, if it has one, its name, and whether the weights have changed since."""
    origin = f"{'They were made from' if changed else 'They are'} those of `{source}`."
    if card is None:
        return {"origin": origin}
    facts = {key: card.data.get(key) for key in ("license", "license_name", "license_link", "language", "datasets")}
    if before := section(card, ORIGIN):
        origin = f"{origin} Of that model's weights its card says:\n\n{before}"
    return {**facts, "origin": origin, "tokenization": section(card, TOKENIZATION)}


def renamed(card: ModelCard, name: str) -> ModelCard:
    """Return the same card under another name."""
    card = ModelCard(card.content)
    if title := re.search(r"^# (.+)$", card.text, flags=re.MULTILINE):
        card.text = card.text.replace(f"# {title[1]}\n", f"# {name}\n", 1)
        card.text = card.text.replace(f'from_pretrained("{title[1]}"', f'from_pretrained("{name}"')
    if card.data.get("eval_results"):
        card.data["model_name"] = name
    return card
