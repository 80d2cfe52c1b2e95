# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Predictions as text: columns as CoNLL has them, a JSON object per line, or a page that highlights them."""

import json
from collections.abc import Collection, Iterable, Iterator
from html import escape

from ..model.label_schemes_elmo import find_scheme, parse_label, spans
from ..training.data.word_lines import conll_blocks
from .inputs import Example, Text

# Light enough for black text, and distinct in all common kinds of color blindness; the labels are written beside them.
COLORS = "#9bd3f5 #f9c74f #b5e48c #f4a6b7 #cdb4f6 #ffd6a5 #8fd8c8 #d9d9d9 #e6c9a8 #c1d3fe".split()
HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 16px/2.2 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #000;
  background: #fff; }}
h1 {{ font-size: 1.2em; font-weight: 600; line-height: 1.4; }}
p {{ margin: 0; padding: .4em 0; border-bottom: 1px solid #ddd; white-space: pre-wrap; overflow-wrap: anywhere; }}
mark {{ color: #000; background: #9bd3f5; padding: .25em .4em; border-radius: .35em; box-decoration-break: clone; }}
mark mark {{ padding: .05em .3em; border: 1px solid #333; }}
b {{ font-size: .7em; font-weight: 700; margin-left: .4em; padding: .1em .4em; border-radius: .3em; background: #fff; }}
ruby {{ ruby-position: under; }}
rt {{ font-size: .6em; color: #444; }}
i {{ color: #555; }}
.bar {{ display: inline-block; width: 8em; height: .7em; margin: 0 .5em; background: #eee; border: 1px solid #999; }}
.bar span {{ display: block; height: 100%; background: #2166ac; }}
</style>
</head>
<body>
<h1>{title}</h1>
"""
FOOT = "</body>\n</html>\n"


Pairs = Iterable[tuple[Example, dict]]  # examples with their predictions


def conll(pairs: Pairs) -> Iterator[str]:
    """Yield a line per word, the word and its label; an empty line ends a sentence."""
    return conll_blocks((found["words"], None, found["labels"], example.lines) for example, found in pairs)


def jsonl(pairs: Pairs, left_out: Collection[str] = ()) -> Iterator[str]:
    """Yield an object per line, which begins with the place of the example in the input.

    Args:
        left_out: Fields that are not written.
    """
    for example, found in pairs:
        found = {name: value for name, value in found.items() if name not in left_out}
        where = {example.place.unit: example.place.number} | ({} if example.id is None else {"id": example.id})
        yield json.dumps(where | found, ensure_ascii=False) + "\n"


class Page:
    """A self-contained page, written example by example.

    Args:
        title: Its heading.
        labels: Labels of the model; each type of entity has a color.
    """

    def __init__(self, title: str, labels: list[str]):
        self.head = HEAD.format(title=escape(title))
        types = labels
        if find_scheme(labels) is not None:
            types = sorted({label.type for label in map(parse_label, labels) if label.letter != "O"})
        self.colors = {type: COLORS[number % len(COLORS)] for number, type in enumerate(types)}

    def __call__(self, pairs: Pairs) -> Iterator[str]:
        yield self.head
        for example, found in pairs:
            yield f"<p>{self.body(example, found)}</p>\n"
        yield FOOT

    def body(self, example: Example, found: dict) -> str:
        if "predicates" in found:
            return self.roles(example.texts[0], found["predicates"])
        if "clusters" in found:
            numbered = enumerate(found["clusters"])
            return self.highlighted(
                found["text"], [{**one, "type": number} for number, part in numbered for one in part]
            )
        if "entities" in found:
            return self.highlighted(found["text"], found["entities"])
        if "words" in found:
            pairs = zip(found["words"], found["labels"])
            return " ".join(f"<ruby>{escape(word)}<rt>{escape(label)}</rt></ruby>" for word, label in pairs)
        if "question" in found:
            span = {"start": found["start"], "end": found["end"], "type": "answer"}
            answer = self.highlighted(found["context"], [span] if found["answer"] else [])
            return f"<i>{escape(found['question'])}</i>\n{answer if found['answer'] else answer + ' <b>no answer</b>'}"
        texts = "\n".join(escape(found[name]) for name in ("text", "text_pair") if name in found)
        if "value" in found or "values" in found:
            values = found.get("values") or {"": found["value"]}
            return texts + "".join(f"\n{escape(name)} <b>{value}</b>" for name, value in values.items())
        chosen = found.get("labels") or [found.get("label")]
        return texts + "".join(self.bar(label, score, label in chosen) for label, score in found["scores"].items())

    def roles(self, text: Text, predicates: list[dict]) -> str:
        """Return a line for each predicate: the text with its arguments, and the predicate itself, in color."""
        lines = []
        for predicate in predicates:
            places = [
                (text.offsets[span.start][0], text.offsets[span.end - 1][1]) for span in spans(predicate["labels"])
            ]
            types = [span.type for span in spans(predicate["labels"])]
            marked = [{"start": start, "end": end, "type": type} for (start, end), type in zip(places, types)]
            lines.append(f"<i>{escape(predicate['text'])}:</i> {self.highlighted(text.text, marked)}")
        return "\n".join(lines) or f"{escape(text.text)} <b>no predicate</b>"

    def highlighted(self, text: str, entities: list[dict], start: int = 0, end: int | None = None) -> str:
        """Return a text, from `start` to `end`, with its entities in color, each with its type.

        An entity may lie inside another one. Types that are numbers have colors in turn.
        """
        parts, end = [], len(text) if end is None else end
        waiting = sorted(entities, key=lambda entity: (entity["start"], -entity["end"]))
        while waiting:
            outer = waiting.pop(0)
            inner = [entity for entity in waiting if entity["end"] <= outer["end"]]
            waiting = waiting[len(inner) :]
            type = outer["type"]
            color = COLORS[type % len(COLORS)] if isinstance(type, int) else self.colors.get(type, COLORS[0])
            content = self.highlighted(text, inner, outer["start"], outer["end"])
            name = "entity" if type in (None, "") else escape(str(type))
            parts += [
                escape(text[start : outer["start"]]),
                f'<mark style="background: {color}">{content}<b>{name}</b></mark>',
            ]
            start = outer["end"]
        return "".join([*parts, escape(text[start:end])])

    def bar(self, label: str, score: float, is_chosen: bool) -> str:
        name = f"<mark>{escape(label)}</mark>" if is_chosen else escape(label)
        return f'\n<span class="bar"><span style="width: {score:.1%}"></span></span>{score:.3f} {name}'
