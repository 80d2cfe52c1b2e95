"""Training speed of a biLM: words per second of a step, of the same step with `torch.nn.LSTM`, and of the data loader.

    python benchmarks/pretraining.py [TEXT] [--projection_size 64] [--cell_size 256] [--rows 32] [--rounds 5]

TEXT is a file with one sentence a line; without it, lines of made-up words are used, whose frequencies follow Zipf's
law. The three contestants alternate, so that a busy machine slows all of them, and the best round of each counts:

    step       a step of the pretraining script: forward, sampled softmax, backward, clipping, Adagrad
    nn.LSTM    the same step with `torch.nn.LSTM(proj_size=...)`, which clips neither cell nor projection
    loader     the batches alone: streams of both directions, character ids, labels, tensors

Words are counted once for both directions. The loader should be at least five times as fast as the step.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from tokenizer import made_up_lines  # the benchmark beside this one
from torch import Tensor, nn

from hf_elmo import ElmoConfig, ElmoForPreTraining, ElmoTokenizer
from hf_elmo.model.character_ids_elmo import write_word_vocabulary
from hf_elmo.training.language_model.corpus import SentenceQueue, TextFiles, build_vocabulary, count_words
from hf_elmo.training.language_model.streams import Streams, TrainingWindows, WordTable

UNROLL_STEPS, STEPS, VOCABULARY = 20, 4, 20_000


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

    def run_layers(self, words: Tensor, mask: Tensor, state=None, use_state=False):
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


def seconds(action) -> float:
    start = time.perf_counter()
    for _ in range(STEPS):
        action()
    return (time.perf_counter() - start) / STEPS


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("text", nargs="?", help="file with one sentence a line; made-up words by default")
    parser.add_argument("--projection_size", type=int, default=64)
    parser.add_argument("--cell_size", type=int, default=256)
    parser.add_argument("--rows", type=int, default=32, help="streams of a step")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = Path(arguments.text or Path(folder) / "text.txt")
        if arguments.text is None:
            text.write_text("\n".join(made_up_lines()) + "\n", encoding="utf-8")
        corpus = TextFiles([str(text)])
        vocabulary = build_vocabulary(count_words(corpus).counts, VOCABULARY)
        write_word_vocabulary(vocabulary, Path(folder) / "vocab.txt")
        table = WordTable.from_tokenizer(ElmoTokenizer(str(Path(folder) / "vocab.txt")))
        config = ElmoConfig(
            char_cnn_filters=[[1, 16], [2, 16], [3, 32], [4, 64]],
            num_highway_layers=1,
            projection_size=arguments.projection_size,
            cell_size=arguments.cell_size,
            word_vocab_size=len(vocabulary),
        )
        negatives = min(1024, len(vocabulary) - 1)
        ours, torchs = (
            Training(kind(config), windows_of(corpus, table, arguments.rows), negatives)
            for kind in (ElmoForPreTraining, TorchLanguageModel)
        )
        alone = iter(windows_of(corpus, table, arguments.rows))
        ways = {"step": ours.step, "nn_lstm_step": torchs.step, "loader": lambda: next(alone)}
        # the first round, which encodes new words and allocates memory, is dropped
        rounds = [{name: seconds(action) for name, action in ways.items()} for _ in range(1 + arguments.rounds)][1:]
    words = arguments.rows * UNROLL_STEPS
    best = {name: min(taken[name] for taken in rounds) for name in ways}
    report = {f"{name}_words_per_second": round(words / taken) for name, taken in best.items()}
    report["step_over_nn_lstm_step"] = round(best["nn_lstm_step"] / best["step"], 2)
    report["loader_over_step"] = round(best["step"] / best["loader"], 1)
    sizes = {"rows": arguments.rows, "unroll_steps": UNROLL_STEPS, "words_of_the_softmax": len(vocabulary)}
    sizes |= {"projection_size": config.projection_size, "cell_size": config.cell_size}
    print(json.dumps({**sizes, "threads": torch.get_num_threads(), **report}, indent=2))


if __name__ == "__main__":
    main()
