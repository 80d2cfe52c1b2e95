# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Attribution of a prediction to words: integrated gradients (Sundararajan et al. 2017, equation 1).

The score of a prediction is a logit (of an answer, the sum of those of its first and last word). It is differentiated
by the characters' embeddings on the straight line between a baseline and the input; the attribution of a word is the
sum over its characters. The baseline is a text whose words have no characters; `<S>` and `</S>`, by which heads find
their texts, stay as they are. All attributions sum to the score minus that of the baseline (completeness).
"""

from argparse import Namespace
from collections.abc import Callable
from html import escape

import torch
from torch import Tensor
from transformers import BatchEncoding

from ..applying.models import head_of
from ..applying.structures import Resolver, RoleLabeler
from ..loading import load_model, load_tokenizer
from ..model.configuration_elmo import ElmoConfig
from ..model.question_answering_elmo import ElmoForQuestionAnswering
from ..model.task_model_elmo import ElmoTaskModel
from ..model.token_classification_elmo import ElmoForTokenClassification
from ..model.tokenization_elmo import ElmoTokenizer
from ..plots import panels, signed_bars
from ..tables import Table
from ..training.configs import read_config
from .report import Findings

POINTS_PER_BATCH = 16
ROUGH = 0.05  # part of the difference of both scores that the attributions may miss


def inspect_attribution(options: Namespace) -> Findings:
    """Return the attribution of a model's prediction for `--text` to each of its words."""
    if len(options.model) > 1:
        raise ValueError("attribution is about one model: give --model once")
    if options.text is None:
        raise ValueError("attribution needs a text: --text 'A gripping movie .', and --second TEXT for models of pairs")
    (name,) = options.model
    config = read_config(name)
    model, tokenizer = load(name, config)
    texts = [options.text] if options.second is None else [options.text, options.second]
    if isinstance(model, ElmoForQuestionAnswering) and len(texts) < 2:
        raise ValueError("a model that answers questions needs both: --text QUESTION --second CONTEXT")
    encoded = tokenizer(*texts, return_tensors="pt").to(model.device)
    is_word = [word is not None for word in encoded.word_ids(0)]
    words = [word for word, kept in zip(encoded.tokens(0), is_word) if kept]
    if not words:
        raise ValueError("--text has no words")
    label, score = target(model, encoded, options, config)
    values, at_input, at_baseline = integrated_gradients(model, tokenizer, encoded, score, options.steps)
    values = [value for value, kept in zip(values.tolist(), is_word) if kept]
    error = at_input - at_baseline - sum(values)
    title = f"attribution of {label} to words (logit {at_input:.3f}, {at_baseline:.3f} without characters)"
    facts = {"target": label, "logit": round(at_input, 6), "baseline_logit": round(at_baseline, 6)}
    facts |= {"words": words, "attributions": [round(value, 6) for value in values]}
    facts |= {"steps": options.steps, "completeness_error": round(error, 6)}
    note = f"The attributions sum to the difference of both logits, up to {error:+.4f} after {options.steps} steps"
    note += "; more --steps make that smaller." if abs(error) > ROUGH * abs(at_input - at_baseline) else "."
    return Findings(
        "attribution",
        [Table(title, ["word", "attribution"], [[word, value] for word, value in zip(words, values)], digits=4)],
        facts,
        lambda: draw(words, values, label),
        [note],
        shaded(words, values),
    )


def load(name: str, config: ElmoConfig) -> tuple[ElmoTaskModel, ElmoTokenizer]:
    """Load a trained head with its tokenizer. Its parameters need no gradients."""
    model_class, head = head_of(name, config)
    if head in (Resolver, RoleLabeler):
        raise ValueError(f"{name}: attribution is for taggers, classifiers and models that answer questions")
    if config.word_vector_count or config.char_feature_filters:
        raise ValueError(
            f"{name}: it reads static vectors or character features beside ELMo, which have no gradient by characters; "
            "attribution needs a model without them"
        )
    tokenizer = load_tokenizer(name)
    return load_model(model_class, name).requires_grad_(False), tokenizer


@torch.no_grad()
def target(
    model: ElmoTaskModel, encoded: BatchEncoding, options: Namespace, config: ElmoConfig
) -> tuple[str, Callable[..., Tensor]]:
    """Return what is attributed, in words, and a function from outputs for B texts to their scores `(B,)`."""
    output = model(**inputs(encoded))
    if isinstance(model, ElmoForQuestionAnswering):
        start, end = model.best_spans(output.start_logits, output.end_logits)[0].tolist()
        answer = " ".join(encoded.tokens(0)[start : end + 1]) if start else "no answer"
        return f"the answer {answer!r}", lambda out: out.start_logits[:, start] + out.end_logits[:, end]
    logits, place, where = output.logits[0], None, ""
    if isinstance(model, ElmoForTokenClassification):
        place = place_of(encoded, logits, options, config)
        logits, where = logits[place], f" for {encoded.tokens(0)[place]!r}"
    number = int(logits.argmax())
    if options.target is not None:
        if options.target not in config.label2id:
            raise ValueError(
                f"--target must be a label of the model, {', '.join(config.label2id)}, not {options.target!r}"
            )
        number = config.label2id[options.target]
    name = config.id2label[number]
    if place is None:
        return f"the label {name!r}", lambda out: out.logits[:, number]
    return f"the label {name!r}{where}", lambda out: out.logits[:, place, number]


def place_of(encoded: BatchEncoding, logits: Tensor, options: Namespace, config: ElmoConfig) -> int:
    """Return the place of the word whose label is attributed: `--word`, or the first with a label other than `O`."""
    places = [place for place, word in enumerate(encoded.word_ids(0)) if word is not None]
    tokens = encoded.tokens(0)
    if options.word is not None:
        found = [place for place in places if tokens[place].lower() == options.word.lower()]
        if not found:
            raise ValueError(f"--text has no word {options.word!r}; its words are {' '.join(tokens[1:-1])}")
        return found[0]
    labels = {place: config.id2label[int(logits[place].argmax())] for place in places}
    return next((place for place in places if labels[place] != "O"), places[0])


def inputs(encoded: BatchEncoding) -> dict[str, Tensor]:
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def integrated_gradients(
    model: ElmoTaskModel,
    tokenizer: ElmoTokenizer,
    encoded: BatchEncoding,
    score: Callable[..., Tensor],
    steps: int = 50,
) -> tuple[Tensor, float, float]:
    """Return the attribution of each position `(T,)`, and the scores of the input and of the baseline.

    Args:
        encoded: One text, or a pair.
        score: From outputs for B texts to scores `(B,)`.
        steps: Points of the line between baseline and input, in the middle of equal steps.
    """
    table = model.elmo.get_input_embeddings()
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    empty = tokenizer([[""]], is_split_into_words=True, add_special_tokens=False, return_tensors="pt")["input_ids"]
    is_word = torch.tensor([word is not None for word in encoded.word_ids(0)], device=ids.device)[:, None]
    given = table(ids.long())[0]  # (T, W, E)
    baseline = torch.where(is_word[..., None], table(empty.to(ids.device).long())[0], given)
    gradient = torch.zeros_like(given)
    places = (torch.arange(steps, device=given.device) + 0.5) / steps
    for batch in places.split(POINTS_PER_BATCH):
        points = (baseline + batch[:, None, None, None] * (given - baseline)).requires_grad_()
        output = model(inputs_embeds=points, attention_mask=mask.expand(len(batch), -1))
        (gradients,) = torch.autograd.grad(score(output).sum(), points)
        gradient += gradients.sum(dim=0)
    attributions = ((given - baseline) * gradient / steps).sum(dim=(1, 2))
    with torch.no_grad():
        ends = torch.stack([given, baseline])
        at_input, at_baseline = score(model(inputs_embeds=ends, attention_mask=mask.expand(2, -1))).tolist()
    return attributions, at_input, at_baseline


def draw(words: list[str], values: list[float], label: str):
    with panels(1, width=6, height=1.2 + 0.24 * len(words)) as (figure, (axes,)):
        signed_bars(axes, words, values)
        axes.set_xlabel("attribution (logit); hatched: against the prediction")
        axes.set_title(f"Attribution of {label}", loc="left")
    return figure


def shaded(words: list[str], values: list[float]) -> str:
    """Return the words as HTML, the darker the more they speak for the prediction; underlined if against it."""
    most = max(map(abs, values)) or 1.0
    parts = []
    for word, value in zip(words, values):
        color = "0, 114, 178" if value >= 0 else "230, 159, 0"
        line = "" if value >= 0 else "; text-decoration: underline"
        style = f"background: rgba({color}, {abs(value) / most * 0.7:.2f}){line}"
        parts.append(f'<span style="{style}" title="{value:+.4f}">{escape(word)}</span>')
    return f'<p class="words">{" ".join(parts)}</p>'


__all__ = ["inspect_attribution", "integrated_gradients"]
