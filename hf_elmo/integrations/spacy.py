# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The spaCy component `elmo`: `nlp.add_pipe("elmo", config={"model": "elmo"})` (`pip install hf-elmo[spacy]`).

spaCy finds the factory by an entry point, so that no import is needed. Loading of such a pipeline with `spacy.load`
loads the model from where `model` says; the pipeline's folder holds no copy of the weights.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, PreTrainedModel

from ..embedding import embed_sentences
from ..loading import find_device, load_tokenizer, loading
from ..model.label_schemes_elmo import find_scheme, parse_label, spans

try:
    from spacy.language import Language
    from spacy.scorer import get_ner_prf
    from spacy.tokens import Doc, Span, Token
    from spacy.training import Example
except ImportError as error:
    raise ImportError("the component elmo needs spaCy: pip install spacy") from error

UNTYPED = "ENTITY"  # spaCy's entities have a type; that of labels without one (B, I, O)
DEFAULTS = {"model": "", "layers": "mix", "entities": None, "device": None, "words_per_batch": 4096}


@Language.factory(
    "elmo", default_config=DEFAULTS, assigns=["doc.tensor", "doc.ents"], default_score_weights={"ents_f": 1.0}
)
def create_elmo(
    nlp: Language,
    name: str,
    model: str,
    layers: str | int,
    entities: bool | None,
    device: str | None,
    words_per_batch: int,
) -> "ElmoComponent":
    """Create the component; called by `nlp.add_pipe("elmo", config={...})`.

    Args:
        nlp: The pipeline.
        name: Name of the component in it.
        model (`str`): Folder or Hub name of a saved ELMo model; required.
        layers (`str` or `int`, defaults to `"mix"`): As in [`~hf_elmo.embedding.embed_sentences`], but for `"all"`.
        entities (`bool`, *optional*):
            Whether to set `doc.ents`; by default, if the model is a tagger of entities.
        device (`str`, *optional*): As in torch; by default the CPU.
        words_per_batch (`int`, defaults to 4096): Maximum number of tokens in a batch, padding included.

    Raises:
        `ValueError`: if the model cannot be loaded, or tags no entities although `entities` is set, or there is no such
            device.
    """
    if not model:
        raise ValueError("""give a model to the component elmo: nlp.add_pipe("elmo", config={"model": "..."})""")
    if layers == "all":
        raise ValueError("`layers` must select one vector a word: 'mix', 'mean', 'top' or a layer's number")
    return ElmoComponent(model, layers, entities, device, words_per_batch)


class ElmoComponent:
    """Give tokens, spans and documents ELMo's vectors, and entities where the model is a tagger of them.

    `doc.tensor` is `(tokens, 2P)`; `token.vector` is a row of it, and the vectors of spans and documents are the means
    of their words' vectors. `similarity` is the cosine of these vectors. Tokens of white space have zeros and do not
    count. A document whose sentences are marked is read sentence by sentence, any other as one sentence.
    """

    def __init__(self, model: str, layers: str | int, entities: bool | None, device: str | None, words_per_batch: int):
        self.layers, self.words_per_batch = layers, words_per_batch
        place = find_device(device or "cpu")
        self.tokenizer = load_tokenizer(model)
        with loading(model):
            config = AutoConfig.from_pretrained(model)
            is_tagger = "ElmoForTokenClassification" in (config.architectures or [])
            tags_entities = is_tagger and find_scheme(list(config.id2label.values())) is not None
            if entities and not tags_entities:
                raise ValueError(f"{model} is no tagger of entities: leave `entities` out, or train one with NER data")
            self.has_entities = tags_entities if entities is None else entities
            loader = AutoModelForTokenClassification if self.has_entities else AutoModel
            self.model: PreTrainedModel = loader.from_pretrained(model).eval().to(place)

    def __call__(self, doc: Doc) -> Doc:
        return self.annotate([doc])[0]

    def pipe(self, docs: Iterable[Doc], *, batch_size: int = 64) -> Iterator[Doc]:
        """Annotate a stream of documents, `batch_size` at a time."""
        stream = iter(docs)
        while batch := list(islice(stream, batch_size)):
            yield from self.annotate(batch)

    @property
    def labels(self) -> tuple[str, ...]:
        """Types of the entities that the component sets, as spaCy asks for them."""
        names = self.model.config.id2label.values() if self.has_entities else ()
        return tuple(sorted({parse_label(name).type or UNTYPED for name in names if name != "O"}))

    def score(self, examples: Iterable[Example], **_: Any) -> dict[str, Any]:
        """Return precision, recall and F1 of entities, in all and by type, for `nlp.evaluate`."""
        return get_ner_prf(examples) if self.has_entities else {}

    def annotate(self, docs: list[Doc]) -> list[Doc]:
        """Set vectors, and entities where the model tags them."""
        sentences = [tokens for doc in docs for tokens in sentences_of(doc)]
        words = [[token.text for token in tokens] for tokens in sentences]
        vectors = embed_sentences(
            self.model, self.tokenizer, words, layers=self.layers, words_per_batch=self.words_per_batch
        )
        width = self.model.config.hidden_size
        tensors = {id(doc): np.zeros((len(doc), width), np.float32) for doc in docs}
        for tokens, rows in zip(sentences, vectors):
            tensors[id(tokens[0].doc)][[token.i for token in tokens]] = rows.float().numpy()
        for doc in docs:
            doc.tensor = tensors[id(doc)]
            set_hooks(doc)
        if self.has_entities:
            found: dict[int, list[Span]] = {id(doc): [] for doc in docs}
            for tokens, labels in zip(sentences, self.predict(words)):
                doc = tokens[0].doc
                found[id(doc)] += [
                    Span(doc, tokens[span.start].i, tokens[span.end - 1].i + 1, label=span.type or UNTYPED)
                    for span in spans(labels)
                ]
            for doc in docs:  # entities of a component before it stay, as with spaCy's own `ner`
                taken = {token.i for span in doc.ents for token in span}
                free = [span for span in found[id(doc)] if taken.isdisjoint(range(span.start, span.end))]
                doc.set_ents([*doc.ents, *free])
        return docs

    def predict(self, sentences: list[list[str]]) -> Iterator[list[str]]:
        """Return the label of each word, with sentences of about the same length in a batch."""
        order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
        labels: dict[int, list[str]] = {}
        names = self.model.config.id2label
        while order:
            size = max(1, self.words_per_batch // (len(sentences[order[-1]]) + 2))
            chosen, order = order[-size:], order[:-size]
            batch = self.tokenizer(
                [sentences[index] for index in chosen], is_split_into_words=True, padding=True, return_tensors="pt"
            )
            with torch.inference_mode():
                predicted: Tensor = self.model(**batch.to(self.model.device)).logits.argmax(dim=-1).cpu()
            for row, index in enumerate(chosen):
                places = batch.word_ids(row)
                own = [int(label) for label, place in zip(predicted[row], places) if place is not None]
                labels[index] = [names[label] for label in own]
        return (labels[index] for index in range(len(sentences)))


def sentences_of(doc: Doc) -> Iterator[list[Token]]:
    """Return the words of each sentence, without white space; a document without marked sentences is one."""
    parts = doc.sents if doc.has_annotation("SENT_START") else [doc]
    for part in parts:
        if words := [token for token in part if not token.is_space]:
            yield words


def set_hooks(doc: Doc) -> None:
    """Make vectors, norms and similarities of a document, its spans and tokens those of `doc.tensor`."""
    for hooks in (doc.user_hooks, doc.user_span_hooks, doc.user_token_hooks):
        hooks.update(vector=vector, vector_norm=norm, has_vector=has_vector, similarity=similarity)


def vector(item: Doc | Span | Token) -> NDArray[np.float32]:
    """Return a token's row of `doc.tensor`, or the mean over the words of a span or document."""
    if isinstance(item, Token):
        return item.doc.tensor[item.i]
    words = [token.i for token in item if not token.is_space]
    return item.doc.tensor[words].mean(axis=0) if words else np.zeros(item.doc.tensor.shape[1], np.float32)


def norm(item: Doc | Span | Token) -> float:
    return float(np.linalg.norm(item.vector))


def has_vector(item: Doc | Span | Token) -> bool:
    return bool(item.vector.any())


def similarity(item: Doc | Span | Token, other: Any) -> float:
    """Return the cosine of two vectors; 0 if one of them is zero."""
    norms = np.linalg.norm(item.vector) * np.linalg.norm(other.vector)
    return float(np.dot(item.vector, other.vector) / norms) if norms else 0.0


__all__ = ["ElmoComponent", "create_elmo"]
