# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""transformers' fill-mask pipeline for a model whose words are rows of characters.

The stock class looks for the id of a mask among the ids and decodes what it has put in its place; a row of characters
is no id, and words of the softmax cannot be decoded from rows. So here the mask is found in the text.
"""

import re
from functools import wraps

import torch
from transformers.pipelines.base import PipelineException
from transformers.pipelines.fill_mask import FillMaskPipeline
from transformers.utils import logging

logger = logging.get_logger(__name__)

MASKS = ("[MASK]", "<mask>")
# Stands for a mask while the text is split into words: a character for private use, which no text has a meaning for.
BLANK = "\ue000"
NO_WORDS = ("<S>", "</S>", "<UNK>")


class ElmoFillMaskPipeline(FillMaskPipeline):
    """The words that [`ElmoForMaskedLM`] expects in place of a mask.

    `pipeline("fill-mask", model=...)` makes one by itself; `pipeline_class=ElmoFillMaskPipeline` says it aloud. Results
    are those of the stock pipeline: for each mask a list of `score`, the probability among all words of the softmax,
    `token`, the word's id in the vocabulary, `token_str`, the word, and `sequence`, the text with the word in the
    mask's place. `<S>`, `</S>` and `<UNK>` are proposed only where they are among the `targets`.

    A mask is `[MASK]`, `<mask>`, or the tokenizer's `mask_token` if it has one, with or without blanks around it. The
    model does not read the word it predicts, so the mask need not be one it was trained with; where a text has several,
    each is an unknown word to the others.
    """

    def _sanitize_parameters(self, top_k=None, targets=None, tokenizer_kwargs=None):
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
        """Vocabulary ids of words, those that have none left out with a warning."""
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
        return re.compile("|".join(re.escape(mask) for mask in (*MASKS, self.tokenizer.mask_token) if mask))

    def preprocess(self, inputs: str, tokenizer_kwargs: dict | None = None, **parameters) -> dict:
        text = self.mask_pattern.sub(f" {BLANK} ", inputs)
        encoding = self.tokenizer(text, return_tensors="pt", **(tokenizer_kwargs or {}))
        masked = torch.tensor([[word == BLANK for word in encoding.tokens(0)]])
        found, wanted = int(masked.sum()), len(self.mask_pattern.findall(inputs))
        if not wanted or found != wanted:
            reason = (
                f"{found} of {wanted} masks are left of {inputs!r}" if wanted else f"there is no mask in {inputs!r}"
            )
            advice = f"put {' or '.join(MASKS)} where a word is to be found, and truncate behind it"
            raise PipelineException(self.task, self.model.base_model_prefix, f"{reason}: {advice}")
        return {**encoding, "masked": masked, "text": inputs}

    def _forward(self, model_inputs: dict) -> dict:
        masked, text = model_inputs.pop("masked"), model_inputs.pop("text")
        context, _ = self.model.contexts(model_inputs["input_ids"], model_inputs["attention_mask"])
        return {"context": context, "masked": masked, "text": text}

    @torch.no_grad()
    def postprocess(self, model_outputs: dict, top_k: int = 5, target_ids: list[int] | None = None):
        # Scores are made here, of the masks only: those of all positions of a batch may not fit into memory.
        context = model_outputs["context"][model_outputs["masked"]]
        probabilities = self.model.score(context.to(self.model.device)).float().softmax(dim=-1).cpu()
        if target_ids is None:
            allowed = torch.ones(probabilities.shape[-1], dtype=torch.bool)
            allowed[self.tokenizer.convert_words_to_labels(list(NO_WORDS))] = False
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


def support_fill_mask_pipeline():
    """Let `pipeline("fill-mask", ...)` be an [`ElmoFillMaskPipeline`] where its model asks for one.

    Which class a task has is settled before a model is known. So it is the first thing that the stock class does with
    its model, to look at parameters, that is wrapped, once: there the pipeline of a model with `fill_mask_pipeline`
    becomes one of that class. Pipelines of all other models, and classes derived from the stock one, go on untouched.
    """
    original = FillMaskPipeline._sanitize_parameters
    if hasattr(original, "asks_the_model"):
        return

    @wraps(original)
    def _sanitize_parameters(self, *args, **kwargs):
        pipeline_class = getattr(self.model, "fill_mask_pipeline", None)
        if type(self) is not FillMaskPipeline or pipeline_class is None:
            return original(self, *args, **kwargs)
        self.__class__ = pipeline_class
        return self._sanitize_parameters(*args, **kwargs)

    _sanitize_parameters.asks_the_model = True
    FillMaskPipeline._sanitize_parameters = _sanitize_parameters


__all__ = ["ElmoFillMaskPipeline"]
