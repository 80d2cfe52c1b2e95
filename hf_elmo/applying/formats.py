# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Predictions as text: columns as CoNLL has them, a JSON object per line, or a page that highlights them."""

import json
from collections.abc import Collection, Iterable, Iterator
from html import escape

from ..model.label_schemes_elmo import find_scheme, parse_label
from ..training.data.word_lines import conll_blocks
from .inputs import Example

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
        for _, found in pairs:
            yield f"<p>{self.body(found)}</p>\n"
        yield FOOT

    def body(self, found: dict) -> str:
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

    def highlighted(self, text: str, entities: list[dict]) -> str:
        """Return a text with its entities in color, each with its type."""
        parts, end = [], 0
        for entity in entities:
            parts.append(escape(text[end : entity["start"]]))
            color = self.colors.get(entity["type"], COLORS[0])
            inner = escape(text[entity["start"] : entity["end"]])
            parts.append(f'<mark style="background: {color}">{inner}<b>{escape(entity["type"] or "entity")}</b></mark>')
            end = entity["end"]
        return "".join([*parts, escape(text[end:])])

    def bar(self, label: str, score: float, is_chosen: bool) -> str:
        name = f"<mark>{escape(label)}</mark>" if is_chosen else escape(label)
        return f'\n<span class="bar"><span style="width: {score:.1%}"></span></span>{score:.3f} {name}'
