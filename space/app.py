"""Three things to try with an ELMo model in a browser: a map of a word's senses, a tagger, and words for a blank.

Run it by `python app.py`. Two variables of the environment name models, as folders or by their names on the Hub:
ELMO_MODEL, a language model in place of the small English one that the package carries, and ELMO_TAGGER, a model that
`hf-elmo train ner` trained, without which the tab of the tagger only says so.
"""

import os
import tempfile
from collections.abc import Callable
from functools import wraps
from importlib import resources
from typing import Any

import gradio as gr
import numpy as np
from transformers import AutoConfig, pipeline

from hf_elmo.conversion import convert
from hf_elmo.inspection.corpora import Encoder, Occurrence, normalized, vectors_of
from hf_elmo.inspection.senses import project
from hf_elmo.loading import loading
from hf_elmo.plots import COLORS, Axes, Figure, panels

MOST_SENTENCES = 50
WORD = "bank"
SENTENCES = """\
They walked along the bank of the river .
The boat lay on the far bank of the stream .
Willows grew on the muddy bank .
She put her money into the bank .
The bank raised its interest rate .
He works for a bank in the city ."""
TAGGED = "In 1889 Gustave Eiffel finished the tower in Paris ."
BLANK = "He opened the [MASK] and went into the room ."
NO_TAGGER = "No tagger is set up: start the app with `ELMO_TAGGER` set to a model that `hf-elmo train ner` made."
ABOUT = """\
# ELMo
Each word gets a vector that depends on its whole sentence (Peters et al. 2018, [arXiv:1802.05365](https://arxiv.org/abs/1802.05365)).
"""


def load(task: str, name: str, architectures: tuple[str, ...], **options: Any) -> Any:
    """Load a pipeline; end with one line if the model cannot be loaded, or has another head than is needed."""
    try:
        with loading(name):
            saved = (AutoConfig.from_pretrained(name).architectures or ["no model"])[0]
            if not saved.endswith(architectures):
                raise ValueError(f"{name}: a model of {' or '.join(architectures)} is needed, but this is {saved}")
            return pipeline(task, model=name, **options)
    except ValueError as error:
        raise SystemExit(f"app.py: {error}") from None


def model_in_the_package() -> str:
    """Convert the model that the package carries, and return its folder."""
    folder = os.path.join(tempfile.mkdtemp(), "elmo")
    with resources.as_file(resources.files("hf_elmo.data")) as source:
        convert(source, folder, dtype="float32")
    return folder


MODEL, TAGGER = os.environ.get("ELMO_MODEL"), os.environ.get("ELMO_TAGGER")
filler = load("fill-mask", MODEL or model_in_the_package(), ("ElmoForPreTraining", "ElmoForMaskedLM"))
encoder = Encoder("elmo", filler.model.base_model, filler.tokenizer)
tagger = None
if TAGGER:
    tagger = load("token-classification", TAGGER, ("ForTokenClassification",), aggregation_strategy="simple")


def shown(function: Callable) -> Callable:
    """Show what is wrong with an input beside it, in place of "Error"."""

    @wraps(function)
    def wrapped(*inputs: str) -> Any:
        try:
            return function(*inputs)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return wrapped


# ---- Senses


@shown
def sense_map(word: str, text: str) -> tuple[Figure, list[list[str | int]]]:
    """Return a map of the word's occurrences in each layer, and for each sentence the nearest other one by layer."""
    occurrences = find(word.strip(), text)
    vectors = normalized(vectors_of(encoder, occurrences))  # (layers, N, 2P)
    with panels(len(encoder.layers), width=4.4, height=2.4) as (figure, axes):
        for one, name, layer in zip(axes, encoder.layers, vectors):
            draw(one, name, project(layer, "pca")[0])
    similarities = vectors @ vectors.transpose(0, 2, 1) - 3 * np.eye(len(occurrences))  # nothing is its own neighbor
    nearest = similarities.argmax(axis=-1) + 1
    # Layer 0 has no context, so that its similarities are equal but for rounding.
    rows = [[number + 1, bracketed(one), *map(int, nearest[1:, number])] for number, one in enumerate(occurrences)]
    return figure, rows


def find(word: str, text: str) -> list[Occurrence]:
    """Return the first occurrence of the word in each line."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > MOST_SENTENCES:
        raise ValueError(f"at most {MOST_SENTENCES} sentences are shown, but there are {len(lines)}")
    occurrences = []
    for number, line in enumerate(lines, start=1):
        words = encoder.tokenizer.tokenize(line)
        place = next((index for index, one in enumerate(words) if one.lower() == word.lower()), None)
        if place is None:
            raise ValueError(f"sentence {number} has no word {word!r}: {line}")
        occurrences.append(Occurrence(words, place, None, f"sentence {number}"))
    if len(occurrences) < 2:
        raise ValueError(f"give at least two sentences with {word!r}, one a line")
    return occurrences


def bracketed(one: Occurrence) -> str:
    return " ".join(f"[{word}]" if place == one.place else word for place, word in enumerate(one.words))


def draw(axes: Axes, name: str, places: np.ndarray) -> None:
    """Draw the places `(N, 2)` of the occurrences in one layer, as the numbers of their sentences."""
    axes.set_title(name, loc="left")
    axes.set(xticks=[], yticks=[])
    if not places.any():
        axes.set(xlim=(-1, 1), ylim=(-1, 1))
        axes.text(0, 0, "all sentences: one vector,\nas there is no context yet", ha="center", va="center")
        return
    axes.scatter(places[:, 0], places[:, 1], s=220, color=COLORS[0], alpha=0.85)
    for number, (x, y) in enumerate(places, start=1):
        axes.text(x, y, str(number), color="white", ha="center", va="center", fontsize=9)
    axes.margins(0.18)


# ---- Tags, blanks


@shown
def tag(text: str) -> dict[str, Any]:
    """Return a text and its entities, as `gr.HighlightedText` shows them."""
    found = tagger(text) if text.strip() else []
    return {
        "text": text,
        "entities": [{"entity": one["entity_group"], "start": one["start"], "end": one["end"]} for one in found],
    }


@shown
def fill(text: str) -> dict[str, float]:
    """Return the ten most probable words for the one blank of a text, with their probabilities."""
    if text.count("[MASK]") != 1:
        raise ValueError("write [MASK] once, in place of the word to be guessed")
    return {one["token_str"]: one["score"] for one in filler(text, top_k=10)}


# ---- The page


def page() -> gr.Blocks:
    with gr.Blocks(title="ELMo", analytics_enabled=False) as blocks:
        gr.Markdown(ABOUT)
        with gr.Tab("Sense map"):
            gr.Markdown("One word in several sentences: sentences in which it means the same should lie together.")
            word = gr.Textbox(WORD, label="Word")
            text = gr.Textbox(SENTENCES, label="Sentences with it, one a line", lines=6)
            button = gr.Button("Map", variant="primary")
            gr.Markdown("Each layer in two dimensions (PCA), with the numbers of the sentences:")
            plot = gr.Plot(show_label=False)
            gr.Markdown("For each sentence, the number of the one in which the word is most similar (cosine):")
            headers = ["", "sentence", *encoder.layers[1:]]
            table = gr.Dataframe(headers=headers, show_label=False, wrap=True, interactive=False)
            gr.on([blocks.load, button.click, word.submit], sense_map, [word, text], [plot, table])
        with gr.Tab("Tagger"):
            if tagger is None:
                gr.Markdown(NO_TAGGER)
            else:
                text = gr.Textbox(TAGGED, label="Text")
                button = gr.Button("Tag", variant="primary")
                marked = gr.HighlightedText(label=f"Labels of {TAGGER}")
                gr.on([button.click, text.submit], tag, text, marked)
        with gr.Tab("Fill-in"):
            text = gr.Textbox(BLANK, label="Text with one [MASK]")
            button = gr.Button("Fill in", variant="primary")
            words = gr.Label(label="Most probable words", num_top_classes=10)
            gr.on([button.click, text.submit], fill, text, words)
    return blocks


if __name__ == "__main__":
    page().launch()
