"""Training speed of a biLM: words per second of a step, of the same step with `torch.nn.LSTM`, and of the data loader.

    python benchmarks/pretraining.py [TEXT] [--size tiny] [--vocabulary 20000] [--negatives 1024] [--rows 32]

TEXT is a file with one sentence a line; without it, lines of made-up words are used, whose frequencies follow Zipf's
law. The contestants alternate, so that a busy machine slows all of them:

    step       a step of the pretraining script: forward, sampled softmax, backward, clipping, Adagrad
    nn.LSTM    the same step with `torch.nn.LSTM(proj_size=...)`, which clips neither cell nor projection
    loader     the batches alone: streams of both directions, character ids, labels, tensors
    parts      shares of the step's time, by torch's profiler: convolutions over characters, softmax, recurrence,
               optimizer, and products of highways and projection where oneDNN computes them
    of peak    multiplications and additions of the recurrence alone, forward and backward, of those of the fastest
               large product, which is beside it in billions of a second

Words are counted once for both directions. The loader should be at least five times as fast as the step. The sizes are
those of the pretraining script (`--size small` has 1024 cells, 128 numbers and the original's character CNN).
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from measuring import Rounds, Settings, large_products, machine
from tokenizer import made_up_lines  # the benchmark beside this one
from torch import Tensor, nn

from hf_elmo import ElmoConfig, ElmoForPreTraining, ElmoTokenizer
from hf_elmo.model.character_ids_elmo import write_word_vocabulary
from hf_elmo.training.language_model.corpus import SentenceQueue, TextFiles, build_vocabulary, count_words
from hf_elmo.training.language_model.model import SIZES
from hf_elmo.training.language_model.streams import Streams, TrainingWindows, WordTable

UNROLL_STEPS, STEPS = 20, 4
PARTS = {
    "LargestValues": "convolutions",
    "OneDnnLinear": "products",
    "LogSumExp": "softmax",
    "PackedLstm": "recurrence",
    "LargestValuesBackward": "convolutions, backward",
    "OneDnnLinearBackward": "products, backward",
    "LogSumExpBackward": "softmax, backward",
    "PackedLstmBackward": "recurrence, backward",
    "Optimizer.step#Adagrad.step": "optimizer",
}


class TorchLayer(nn.Module):
    """A biLSTM layer of two `torch.nn.LSTM`, in place of the model's own."""

    def __init__(self, config: ElmoConfig, skip: bool):
        super().__init__()
        width, cell = config.projection_size, config.cell_size
        self.directions = nn.ModuleList(
            nn.LSTM(width, cell, proj_size=width, batch_first=True) for _ in ("forward", "backward")
        )
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        forward, backward = x.chunk(2, dim=-1)
        outputs = torch.cat([self.directions[0](forward)[0], self.directions[1](backward.flip(1))[0].flip(1)], dim=-1)
        return outputs + x if self.skip else outputs


class TorchLanguageModel(ElmoForPreTraining):
    """The language model with `torch.nn.LSTM` layers; each window begins with a zero state."""

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        skips = [config.use_skip_connections and layer > 0 for layer in range(config.num_hidden_layers)]
        self.elmo.layers = nn.ModuleList(TorchLayer(config, skip) for skip in skips)
        self.elmo.run_layers = self.run_layers

    def run_layers(self, words: Tensor, mask: Tensor, state=None, lengths=None, use_state=False):
        outputs = [words]
        for layer in self.elmo.layers:
            outputs.append(layer(nn.functional.dropout(outputs[-1], self.config.lstm_dropout, self.training)))
        return outputs, None


class Training:
    """Training steps of a model, as in the script."""

    def __init__(self, model: ElmoForPreTraining, windows: TrainingWindows, num_negative_samples: int):
        model.sparse_softmax_gradient = True
        parameters = [parameter for parameter in model.train().parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adagrad(parameters, lr=0.2, initial_accumulator_value=1.0, eps=0.0)
        self.model, self.windows, self.num_negative_samples = model, iter(windows), num_negative_samples
        self.state = None

    def step(self):
        batch = next(self.windows)
        del batch["accumulation"]
        outputs = self.model(**batch, state=self.state, use_state=True, num_negative_samples=self.num_negative_samples)
        self.state = outputs.state and tuple(part.detach() for part in outputs.state)
        (outputs.loss * UNROLL_STEPS).backward()
        dense = [p for p in self.model.parameters() if p.grad is not None and not p.grad.is_sparse]
        nn.utils.clip_grad_norm_(dense, 10.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def windows_of(corpus: TextFiles, table: WordTable, rows: int) -> TrainingWindows:
    forward, backward = (Streams(SentenceQueue(corpus, name), rows, name == "b") for name in ("f", "b"))
    return TrainingWindows(table, forward, backward, UNROLL_STEPS, rows)


def shares_of_parts(step: Callable[[], object]) -> dict[str, float]:
    """Return the share of each part in the time of a few steps."""
    step()  # compiles kernels
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        several(step)()
    events = profile.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    return {PARTS[event.key]: round(event.cpu_time_total / total, 3) for event in events if event.key in PARTS}


def several(action: Callable[[], object]) -> Callable[[], None]:
    def steps():
        for _ in range(STEPS):
            action()

    return steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="?", help="file with one sentence a line; made-up words by default")
    parser.add_argument("--size", default="tiny", choices=SIZES)
    parser.add_argument("--vocabulary", type=int, default=20_000, help="words of the softmax, at most")
    parser.add_argument("--negatives", type=int, default=1024, help="samples of the softmax")
    parser.add_argument("--rows", type=int, default=32, help="streams of a step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=20_000, help="lines of made-up words")
    parser.add_argument("--product", type=int, default=2048, help="rows of the large product")
    arguments = parser.parse_args()
    settings = Settings([], [], 0, [], arguments.rounds, "cpu", arguments.product, lambda *what: None)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(arguments.text or Path(folder) / "text.txt")
        if arguments.text is None:
            lines = made_up_lines(arguments.lines, types=3 * arguments.lines)
            text.write_text("\n".join(lines) + "\n", encoding="utf-8")
        corpus = TextFiles([str(text)])
        vocabulary = build_vocabulary(count_words(corpus).counts, arguments.vocabulary)
        write_word_vocabulary(vocabulary, Path(folder) / "vocab.txt")
        table = WordTable.from_tokenizer(ElmoTokenizer(str(Path(folder) / "vocab.txt")))
        config = ElmoConfig(**SIZES[arguments.size], word_vocab_size=len(vocabulary))
        negatives = min(arguments.negatives, len(vocabulary) - 1)
        ours, torchs = (
            Training(kind(config), windows_of(corpus, table, arguments.rows), negatives)
            for kind in (ElmoForPreTraining, TorchLanguageModel)
        )
        alone = iter(windows_of(corpus, table, arguments.rows))
        ways = {"step": ours.step, "nn_lstm_step": torchs.step, "loader": lambda: next(alone)}
        products, work = large_products("cpu", torch.float32, settings.peak_size)
        parts = shares_of_parts(ours.step)
        taken = Rounds({name: several(way) for name, way in ways.items()} | products, settings)
    words = STEPS * arguments.rows * UNROLL_STEPS
    operations = 3 * 2 * 2 * 2 * 9 * config.cell_size * config.projection_size * words
    report = {f"{name}_words_per_second": round(taken.rate(name, words)) for name in ways}
    report["step_over_nn_lstm_step"] = round(taken.faster("step", "nn_lstm_step"), 2)
    report["loader_over_step"] = round(taken.faster("loader", "step"), 1)
    report["parts"] = parts
    report["of_peak_gflops"] = taken.of_peak("step", operations, work)
    sizes = {"rows": arguments.rows, "unroll_steps": UNROLL_STEPS, "words_of_the_softmax": len(vocabulary)}
    sizes |= {"negatives": negatives, "projection_size": config.projection_size, "cell_size": config.cell_size}
    print(json.dumps({"machine": machine("cpu"), **sizes, **report}, indent=2))


if __name__ == "__main__":
    main()
