"""The whole model, as `speed.py` times it: rows of characters in, the mix of all layers out; and the character CNN."""

import contextlib
import copy
import tempfile
from collections.abc import Callable

import torch
from measuring import (
    SIZES,
    Rounds,
    Settings,
    count,
    large_products,
    megabytes_of,
    print_header,
    print_row,
    ragged_lengths,
    times,
)
from tokenizer import made_up_lines  # the benchmark beside this one

from hf_elmo import ElmoConfig, ElmoModel, ElmoTokenizer, prepared
from hf_elmo.model.lstm_elmo import lstm_path
from hf_elmo.model.quantizer_elmo import ElmoInt8Config

COLUMNS = ["size", "numbers", "batch", "words", "words/s", "plain", "our float32", "of peak, GFLOP/s", "MB", "types"]
COLUMNS += ["CNN types/s", "CNN, layers called", "CNN's share"]


def build_model(size: str) -> ElmoModel:
    """A model of random weights; all published sizes have the character CNN of the original."""
    torch.manual_seed(0)
    cell, width = SIZES[size]
    small = {"char_cnn_filters": [[1, 4], [2, 8]]} if size == "tiny" else {}
    return ElmoModel(ElmoConfig(cell_size=cell, projection_size=width, **small)).eval()


def with_int8_weights(model: ElmoModel) -> ElmoModel:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return ElmoModel.from_pretrained(folder, quantization_config=ElmoInt8Config()).eval()


class Sentences:
    """A batch of made-up sentences, ragged, and what can be done with it."""

    def __init__(self, model: ElmoModel, batch: int):
        lengths = ragged_lengths(batch)
        lines = made_up_lines(count=batch, words=max(lengths))
        words = [line.split()[:length] for line, length in zip(lines, lengths)]
        encoded = ElmoTokenizer()(words, is_split_into_words=True, padding=True, return_tensors="pt")
        self.model, self.batch = model, {name: tensor.to(model.device) for name, tensor in encoded.items()}
        self.ids, self.mask = self.batch["input_ids"], self.batch["attention_mask"].bool()
        self.types = self.ids[self.mask].unique(dim=0)
        self.words = int(self.mask.sum())

    @torch.no_grad()
    def ours(self):
        self.model(**self.batch)

    @torch.no_grad()
    def plain(self):
        """As the definition says it: every character of every word, padding too, and then the loop over padded rows."""
        with lstm_path("reference"):
            self.model(inputs_embeds=self.model.get_input_embeddings()(self.ids), attention_mask=self.mask)

    @torch.no_grad()
    def character_cnn(self):
        self.model.char_encoder(self.types)

    @torch.no_grad()
    def character_layers(self):
        """The layers of the character CNN, called for each word type."""
        self.model.char_encoder.encode_characters(self.model.get_input_embeddings()(self.types))

    def contestants(self) -> dict[str, Callable[[], object]]:
        return {
            "ours": self.ours,
            "plain": self.plain,
            "CNN": self.character_cnn,
            "CNN layers": self.character_layers,
        }


def print_table(settings: Settings):
    print_header(f"The whole model on {settings.device}", COLUMNS)
    for size in settings.sizes:
        models = {"float32": build_model(size).to(settings.device)}
        if settings.device == "cpu":
            models["prepared"] = copy.deepcopy(models["float32"])
            models["int8"] = with_int8_weights(models["float32"])
        for batch in settings.batches:
            with prepared(models.get("prepared", models["float32"])):
                print_rows(settings, size, batch, models)


def print_rows(settings: Settings, size: str, batch: int, models: dict[str, ElmoModel]):
    sentences = Sentences(models["float32"], batch)
    contestants = sentences.contestants()
    contestants |= {name: Sentences(model, batch).ours for name, model in models.items() if name != "float32"}
    products, work = large_products(settings.device, torch.float32, settings.peak_size)
    taken = Rounds(contestants | products, settings)
    operations = recurrence_operations(size, sentences.words)

    def first_cells(contestant: str, numbers: str) -> list:
        words = count(sentences.words), count(taken.rate(contestant, sentences.words))
        return [size, numbers, batch, *words, times(taken.faster(contestant, "plain"))]

    def memory(numbers: str) -> str | None:
        return count(settings.megabytes("model", numbers, size, batch, settings.device))

    row = [*first_cells("ours", "float32"), None, taken.of_peak("ours", operations, work), memory("float32")]
    row += [count(len(sentences.types)), count(taken.rate("CNN", len(sentences.types)))]
    print_row(*row, times(taken.faster("CNN", "CNN layers")), f"{taken.median(lambda t: t['CNN'] / t['ours']):.0%}")
    for name in list(models)[1:]:
        row = [*first_cells(name, name), times(taken.faster(name, "ours")), None]
        print_row(*row, memory(name), *[None] * 4)


def recurrence_operations(size: str, words: int) -> int:
    """Multiplications and additions of the recurrence of two layers, both directions, and of nothing else."""
    cell, width = SIZES[size]
    return 2 * 2 * 2 * 9 * cell * width * words


def memory_of(numbers: str, size: str, batch: int, device: str) -> float:
    model = build_model(size).to(device)
    if numbers == "int8":
        model = with_int8_weights(model)
    with prepared(model) if numbers == "prepared" else contextlib.nullcontext():
        if numbers != "prepared":
            Sentences(model, 1).ours()  # which packs int8 weights, once
        return megabytes_of(Sentences(model, batch).ours, device)
