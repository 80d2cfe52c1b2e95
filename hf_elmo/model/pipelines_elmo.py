# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Pipelines for models whose words are rows of character ids, which the stock classes cannot read.

A head names its pipeline in `pipeline_class`, and `pipeline("ner", ...)` or `pipeline("fill-mask", ...)` makes it,
however the model was opened (see `dispatch_by_model`).
"""

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers.pipelines.base import ChunkPipeline, Pipeline, PipelineException
from transformers.pipelines.fill_mask import FillMaskPipeline
from transformers.pipelines.text_generation import ReturnType, TextGenerationPipeline
from transformers.pipelines.token_classification import AggregationStrategy, TokenClassificationPipeline
from transformers.utils import logging

from .label_schemes_elmo import Span, find_scheme, spans

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

    The class given is derived from the stock class of a task; a second one for that changes nothing.
    """
    stock = pipeline_class.__base__
    if "__new__" in vars(stock):
        return

    def __new__(cls: type[Pipeline], *args, **kwargs) -> Pipeline:
        model = kwargs.get("model", args[0] if args else None)
        proposed = getattr(model, "pipeline_class", None)
        is_subclass = isinstance(proposed, type) and issubclass(proposed, cls)
        return object.__new__(proposed if is_subclass else cls)

    stock.__new__ = __new__  # type: ignore[method-assign, assignment]  # mypy lets nobody change a method


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
            word = {"word": sentence[start:end], "scores": scores[index], "start": start, "end": end, "index": index}
            words.append({**word, "is_subword": False})
        return words

    def group_entities(self, entities: list[dict]) -> list[dict]:
        """Return the entities that the labels of consecutive words mark, and groups of words outside of entities."""
        if find_scheme(self.model.config.id2label.values()) is None:
            return super().group_entities(entities)
        groups, end = [], 0
        for span in [*spans([entity["entity"] for entity in entities]), Span(len(entities), len(entities), "")]:
            parts = (entities[end : span.start], "O"), (entities[span.start : span.end], span.type or "_")
            groups += [self.group(*part) for part in parts if part[0]]
            end = span.end
        return groups

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
        self, top_k: int | None = None, targets: str | list[str] | None = None, tokenizer_kwargs: dict | None = None
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
        before = {} if tokenizer_kwargs is None else {"tokenizer_kwargs": tokenizer_kwargs}
        return before, {}, {name: value for name, value in given.items() if value is not None}

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
            found = f"{found} of {wanted} masks are left of" if wanted else "there is no mask in"
            advice = f"put {' or '.join(MASKS)} where a word is to be found, and truncate only after it"
            raise PipelineException(self.task, self.model.base_model_prefix, f"{found} {inputs!r}: {advice}")
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
            results.append([])
            for score, token, word in zip(mask_scores, tokens, self.tokenizer.convert_labels_to_words(tokens)):
                sequence = text[: mask.start()] + word + text[mask.end() :]
                results[-1].append({"score": score, "token": token, "token_str": word, "sequence": sequence})
        return results[0] if len(results) == 1 else results


class ElmoTextGenerationPipeline(TextGenerationPipeline):
    """Texts that [`ElmoForCausalLM`] continues, with the arguments and results of the stock pipeline.

    A blank stands between the prompt and the first word after it. `stop_sequence` does not apply to whole words.
    """

    def _sanitize_parameters(self, *args, stop_sequence: str | list[str] | None = None, **parameters) -> tuple:
        if stop_sequence is not None:
            raise ValueError(
                "`stop_sequence` is looked for in pieces of words, and this model generates whole words: pass "
                "eos_token_id=tokenizer.convert_words_to_labels(['.', '!']) to stop at words"
            )
        return super()._sanitize_parameters(*args, **parameters)

    def postprocess(
        self, model_outputs: dict, return_type: ReturnType = ReturnType.FULL_TEXT, **parameters
    ) -> list[dict]:
        prompt = model_outputs["prompt_text"]
        if model_outputs["input_ids"] is not None:  # the stock class takes the length of a row for that of the prompt
            model_outputs["input_ids"] = model_outputs["input_ids"][..., 0]
        if isinstance(prompt, str) and prompt and not prompt[-1].isspace():
            model_outputs["prompt_text"] = f"{prompt} "
        return super().postprocess(model_outputs, return_type, **parameters)


class ElmoQuestionAnsweringPipeline(ChunkPipeline):
    """Answers to questions, each a span of words of a text.

        answer = ElmoQuestionAnsweringPipeline(model=model, tokenizer=tokenizer)
        answer(question="Where is the bank?", context="The bank is by the river.")

    transformers 5 has no pipeline for this task, and accepts its name only for models that bring one. So the saved
    configuration names this class, and `pipeline("question-answering", folder, trust_remote_code=True)` makes it.

    Arguments and results are those of transformers 4: `score`, the probability of the answer's first word times that of
    its last one, `start` and `end`, its characters in the text, and `answer`; a list of them if `top_k` is above 1. A
    long text is read in windows of `max_seq_len` words, question and special tokens included (by default the
    configuration's `qa_context_len` words of the text), that share `doc_stride` words; an answer in several windows
    counts by its best score. The longest answer has `max_answer_len` words (by default `qa_max_answer_len`). With
    `handle_impossible_answer` (by default the configuration's `qa_no_answer`), "no answer" is among the answers: an
    empty one, from 0 to 0, with its least score over all windows.
    """

    default_input_names = "question,context"
    _load_processor = _load_image_processor = _load_feature_extractor = False
    _load_tokenizer = True

    def _sanitize_parameters(self, **options) -> tuple[dict, dict, dict]:
        places = {"max_seq_len": 0, "doc_stride": 0, "top_k": 2, "max_answer_len": 2, "handle_impossible_answer": 2}
        parameters = ({}, {}, {})
        for name, value in options.items():
            if name not in places:
                raise TypeError(f"a question-answering pipeline has no option {name}, only {', '.join(places)}")
            if value is not None:
                if name != "handle_impossible_answer" and value < (name != "doc_stride"):
                    raise ValueError(f"{name} must be at least {int(name != 'doc_stride')}, but is {value}")
                parameters[places[name]][name] = value
        return parameters

    def __call__(
        self,
        inputs: dict | list[dict] | None = None,
        question: str | list[str] | None = None,
        context: str | list[str] | None = None,
        **options,
    ) -> dict | list:
        """Answer questions: of a dict with a `question` and a `context`, or of a list of such dicts; or else a question
        to a text, or a list of questions with one text each, or one for all. For the options, see the class."""
        if inputs is None and isinstance(question, str) and isinstance(context, str):
            inputs = {"question": question, "context": context}
        elif inputs is None and isinstance(question, list):
            contexts = [context] * len(question) if isinstance(context, str) else context
            inputs = [{"question": q, "context": c} for q, c in zip(question, contexts or [], strict=True)]
        for example in inputs if isinstance(inputs, list) else [inputs]:
            given = [example.get(name) for name in ("question", "context")] if isinstance(example, dict) else [None]
            if not all(isinstance(text, str) for text in given):
                raise ValueError(f"a question and a context are needed, both texts, but there is {example!r:.80}")
        return super().__call__(inputs, **options)

    def preprocess(
        self, example: dict, max_seq_len: int | None = None, doc_stride: int | None = None
    ) -> Iterator[dict]:
        """Return the windows of a text."""
        context, config = example["context"], self.model.config
        limits = config.qa_length_limits or (None, None)
        texts = [self.cut(text, limit) for text, limit in zip((example["question"], context), limits)]
        longest = max_seq_len
        if longest is None and config.qa_context_len is not None:
            longest = len(self.tokenizer(texts[0])["input_ids"]) + 2 + config.qa_context_len
        options: dict = {"return_overflowing_tokens": True, "return_offsets_mapping": True}
        if longest is not None:
            stride = min(128, longest // 4) if doc_stride is None else doc_stride
            options |= {"truncation": "only_second", "max_length": longest, "stride": stride}
        windows = self.tokenizer(*([text] for text in texts), **options)
        last = len(windows["input_ids"]) - 1
        for number in range(last + 1):
            offsets = zip(windows["offset_mapping"][number], windows.sequence_ids(number))
            inputs = {name: torch.tensor(windows[name][number])[None] for name in ("input_ids", "attention_mask")}
            offsets = [offset if sequence == 1 else None for offset, sequence in offsets]
            yield {**inputs, "offsets": offsets, "context": context, "is_last": number == last}

    def cut(self, text: str, limit: int | None) -> str:
        """Cut a text behind so many words; `None` cuts nothing."""
        if limit is None:
            return text
        offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return text[: offsets[limit - 1][1]] if len(offsets) > limit else text

    def _forward(self, model_inputs: dict) -> dict:
        ids, mask = model_inputs.pop("input_ids"), model_inputs.pop("attention_mask")
        output = self.model(ids, mask)
        return {"start": output.start_logits, "end": output.end_logits, "attention_mask": mask, **model_inputs}

    def postprocess(
        self,
        windows: list[dict],
        top_k: int = 1,
        max_answer_len: int | None = None,
        handle_impossible_answer: bool | None = None,
    ) -> dict | list[dict]:
        """Return the best answers of all windows."""
        context, scores, no_answer = windows[0]["context"], {}, torch.inf
        longest = self.model.config.qa_max_answer_len if max_answer_len is None else max_answer_len
        for window in windows:
            words = window["attention_mask"][0].bool()
            start, end = (window[side][0][words].double().log_softmax(dim=0) for side in ("start", "end"))
            no_answer = min(no_answer, (start[0] + end[0]).item())
            places = [place for place, offset in enumerate(window["offsets"]) if offset is not None]
            is_span = torch.ones(len(places), len(places)).triu()
            is_span = (is_span if longest is None else is_span.tril(longest - 1)) > 0
            sums = (start[places][:, None] + end[places]).where(is_span, -torch.inf)
            for best in sums.flatten().argsort(descending=True, stable=True)[:top_k].tolist():
                first, last = divmod(best, len(places))
                span = window["offsets"][places[first]][0], window["offsets"][places[last]][1]
                scores[span] = max(scores.get(span, -torch.inf), sums[first, last].item())
        if self.model.config.qa_no_answer if handle_impossible_answer is None else handle_impossible_answer:
            scores[0, 0] = no_answer
        best = sorted((-score, *span) for span, score in scores.items() if score > -torch.inf)[:top_k]
        answers = [{"score": math.exp(-cost), "start": a, "end": b, "answer": context[a:b]} for cost, a, b in best]
        return answers[0] if top_k == 1 and answers else answers


# For a configuration: the pipeline that is made for a task instead of one of the library
QUESTION_ANSWERING = {
    "question-answering": {
        "impl": "pipelines_elmo.ElmoQuestionAnsweringPipeline",
        "pt": ["AutoModelForQuestionAnswering"],
    }
}
