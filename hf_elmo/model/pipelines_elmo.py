# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Pipelines for models whose words are rows of character ids, which the stock classes cannot read.

A head names its pipeline in `pipeline_class`, and `pipeline("ner", ...)` or `pipeline("fill-mask", ...)` makes it,
however the model was opened (see `dispatch_by_model`).
"""

import re
from collections.abc import Sequence

import numpy as np
import torch
from transformers.pipelines.base import Pipeline, PipelineException
from transformers.pipelines.fill_mask import FillMaskPipeline
from transformers.pipelines.token_classification import AggregationStrategy, TokenClassificationPipeline
from transformers.utils import logging

from .label_schemes_elmo import find_scheme, spans

logger = logging.get_logger(__name__)

MASKS = ("[MASK]", "<mask>")
# Stands for a mask while the text is split into words: a character for private use, which has no meaning in texts.
PLACEHOLDER = "\ue000"
NOT_PROPOSED = ("<S>", "</S>", "<UNK>")


def dispatch_by_model(pipeline_class: type[Pipeline]):
    """Let the parent of a pipeline class make the pipeline that a model names as its `pipeline_class`.

    `pipeline()` selects the class of a task before it loads the model. A model may propose another one only by
    `custom_pipelines` in its config.json, which requires `trust_remote_code=True` even where the package is installed,
    does not know the alias "ner", and is not asked where a model instance is passed; and an entry of the registry is
    read before the code of a model is there. So this gives the stock class a `__new__`, the one change to a class of
    another library. Models that name no pipeline, and classes that somebody derives from the stock one, are not
    affected. Question to transformers: could `pipeline()` ask the model that it has loaded for its pipeline class?

    Args:
        pipeline_class: A class derived from the stock class of a task; a second one for that changes nothing.
    """
    stock = pipeline_class.__base__
    if "__new__" in vars(stock):
        return

    def __new__(cls: type[Pipeline], *args, **kwargs) -> Pipeline:
        model = kwargs.get("model", args[0] if args else None)
        proposed = getattr(model, "pipeline_class", None)
        is_subclass = isinstance(proposed, type) and issubclass(proposed, cls)
        return object.__new__(proposed if is_subclass else cls)

    stock.__new__ = __new__


class ElmoTokenClassificationPipeline(TokenClassificationPipeline):
    """Labels of words, or with an `aggregation_strategy` the entities that they mark.

    Results are those of the stock pipeline. A word is one token, so all strategies but `"none"` give the same entities;
    these follow the labels' scheme, of whatever kind (IOB1, BIO, BIOUL, BIOES, BMES). Entities of bare labels (`B`,
    `I`, `O`) have the `entity_group` `_`.
    """

    def gather_pre_entities(
        self,
        sentence: str,
        input_ids: torch.Tensor,
        scores: np.ndarray,
        offset_mapping: torch.Tensor | list[tuple[int, int]],
        special_tokens_mask: np.ndarray,
        aggregation_strategy: AggregationStrategy,
        word_ids: list[int | None] | None = None,
        word_to_chars_map: list[tuple[int, int]] | None = None,
    ) -> list[dict]:
        """Return each word with its scores and its place in the text, which its offsets give."""
        words = []
        for index in np.flatnonzero(np.asarray(special_tokens_mask) == 0).tolist():
            start, end = (int(offset) for offset in offset_mapping[index])
            if word_ids is not None and word_to_chars_map is not None:  # given words: offsets start at the word
                first = word_to_chars_map[word_ids[index]][0]
                start, end = first + start, first + end
            words.append(
                {
                    "word": sentence[start:end],
                    "scores": scores[index],
                    "start": start,
                    "end": end,
                    "index": index,
                    "is_subword": False,
                }
            )
        return words

    def group_entities(self, entities: list[dict]) -> list[dict]:
        """Return the entities that the labels of consecutive words mark, and groups of words outside of entities."""
        if find_scheme(self.model.config.id2label.values()) is None:
            return super().group_entities(entities)
        groups, end = [], 0
        for span in spans([entity["entity"] for entity in entities]):
            groups += self.outside(entities[end : span.start])
            groups.append(self.group(entities[span.start : span.end], span.type or "_"))
            end = span.end
        return groups + self.outside(entities[end:])

    def outside(self, words: list[dict]) -> list[dict]:
        """Return the group of words between two entities, if there are any."""
        return [self.group(words, "O")] if words else []

    def group(self, words: Sequence[dict], name: str) -> dict:
        """Return words as one entity, with the mean of their scores."""
        return {
            "entity_group": name,
            "score": np.mean([word["score"] for word in words]),
            "word": self.tokenizer.convert_tokens_to_string([word["word"] for word in words]),
            "start": words[0]["start"],
            "end": words[-1]["end"],
        }


class ElmoFillMaskPipeline(FillMaskPipeline):
    """The words that [`ElmoForMaskedLM`] expects in place of a mask.

    Results are those of the stock pipeline: for each mask a list of `score`, the probability among all words of the
    softmax, `token`, the word's id in the vocabulary, `token_str`, the word, and `sequence`, the text with the word in
    the mask's place. `<S>`, `</S>` and `<UNK>` are proposed only where they are among the `targets`.

    A mask is `[MASK]`, `<mask>`, or the tokenizer's `mask_token` if it has one, with or without blanks around it. The
    stock class looks for the id of a mask among the ids, but a row of characters is no id; so the mask is found in the
    text. The model does not read the word it predicts, so it need not have been trained with masks; where a text has
    several, each is an unknown word to the others.
    """

    def _sanitize_parameters(
        self,
        top_k: int | None = None,
        targets: str | list[str] | None = None,
        tokenizer_kwargs: dict | None = None,
    ) -> tuple[dict, dict, dict]:
        words, size = getattr(self.tokenizer, "word_vocab", None), self.model.config.word_vocab_size
        if words is None or len(words) != size:
            raise ValueError(
                f"fill-mask needs the {size} words of the model's softmax, and the tokenizer's vocabulary "
                + ("is missing" if words is None else f"has {len(words)}")
                + ": put the vocab.txt that the model was trained with beside it"
            )
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, but is {top_k}")
        given = {"top_k": top_k, "target_ids": targets if targets is None else self.get_target_ids(targets)}
        return (
            {"tokenizer_kwargs": tokenizer_kwargs} if tokenizer_kwargs is not None else {},
            {},
            {name: value for name, value in given.items() if value is not None},
        )

    def get_target_ids(self, targets: str | list[str]) -> list[int]:
        """Return the vocabulary ids of words; a word that has none is left out with a warning."""
        targets = [targets] if isinstance(targets, str) else list(targets)
        known = set(self.tokenizer.word_vocab)
        for word in targets:
            if word not in known:
                logger.warning(f"The target {word!r} is not in the vocabulary of the model's softmax and is left out")
        targets = [word for word in dict.fromkeys(targets) if word in known]
        if not targets:
            raise ValueError("targets: give at least one word that is in the vocabulary of the model's softmax")
        return self.tokenizer.convert_words_to_labels(targets)

    @property
    def mask_pattern(self) -> re.Pattern:
        """Pattern that finds masks in a text."""
        return re.compile("|".join(re.escape(mask) for mask in (*MASKS, self.tokenizer.mask_token) if mask))

    def preprocess(self, inputs: str, tokenizer_kwargs: dict | None = None, **parameters) -> dict:
        text = self.mask_pattern.sub(f" {PLACEHOLDER} ", inputs)
        encoding = self.tokenizer(text, return_tensors="pt", **(tokenizer_kwargs or {}))
        masked = torch.tensor([[word == PLACEHOLDER for word in encoding.tokens(0)]])
        found, wanted = int(masked.sum()), len(self.mask_pattern.findall(inputs))
        if not wanted or found != wanted:
            reason = (
                f"{found} of {wanted} masks are left of {inputs!r}" if wanted else f"there is no mask in {inputs!r}"
            )
            advice = f"put {' or '.join(MASKS)} where a word is to be found, and truncate only after it"
            raise PipelineException(self.task, self.model.base_model_prefix, f"{reason}: {advice}")
        return {**encoding, "masked": masked, "text": inputs}

    def _forward(self, model_inputs: dict) -> dict:
        masked, text = model_inputs.pop("masked"), model_inputs.pop("text")
        context, _ = self.model.contexts(model_inputs["input_ids"], model_inputs["attention_mask"])
        return {"context": context, "masked": masked, "text": text}

    @torch.no_grad()
    def postprocess(
        self, model_outputs: dict, top_k: int = 5, target_ids: list[int] | None = None
    ) -> list[dict] | list[list[dict]]:
        # Only masks are scored: the scores of all positions of a batch may not fit into memory.
        context = model_outputs["context"][model_outputs["masked"]]
        probabilities = self.model.score(context.to(self.model.device)).float().softmax(dim=-1).cpu()
        if target_ids is None:
            allowed = torch.ones(probabilities.shape[-1], dtype=torch.bool)
            allowed[self.tokenizer.convert_words_to_labels(list(NOT_PROPOSED))] = False
            target_ids = allowed.nonzero().flatten()
        ids = torch.as_tensor(target_ids)
        scores, places = probabilities[:, ids].topk(min(top_k, len(ids)))

        text = model_outputs["text"]
        results = []
        for mask, mask_scores, tokens in zip(self.mask_pattern.finditer(text), scores.tolist(), ids[places].tolist()):
            results.append(
                [
                    {
                        "score": score,
                        "token": token,
                        "token_str": word,
                        "sequence": text[: mask.start()] + word + text[mask.end() :],
                    }
                    for score, token, word in zip(mask_scores, tokens, self.tokenizer.convert_labels_to_words(tokens))
                ]
            )
        return results[0] if len(results) == 1 else results


__all__ = ["ElmoFillMaskPipeline", "ElmoTokenClassificationPipeline", "dispatch_by_model"]
