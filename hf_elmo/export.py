# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The command `hf-elmo export`: a model as an ONNX graph for any number of sentences and words.

The recurrence becomes ONNX's `Scan`, so that the graph holds one time step and a loop. The graph reads `input_ids`
`(B, T, W)` and `attention_mask` `(B, T)`, both int64, as the tokenizer makes them.
"""

import json
import logging
import os
import tempfile
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .loading import load_model, load_tokenizer
from .training.configs import read_config

TASKS = {
    "feature-extraction": "AutoModel",
    "fill-mask": "AutoModelForMaskedLM",
    "token-classification": "AutoModelForTokenClassification",
    "text-classification": "AutoModelForSequenceClassification",
    "question-answering": "AutoModelForQuestionAnswering",
}
TASK_OF_HEAD = {
    "ElmoForMaskedLM": "fill-mask",
    "ElmoForTokenClassification": "token-classification",
    "ElmoForSequenceClassification": "text-classification",
    "ElmoForQuestionAnswering": "question-answering",
}
TEXTS = ["The bank by the river was closed .", "Rain fell ."]
# One more text of each kind of length: a single word, more sentences, more words than the graph was traced with
CHECKED_TEXTS = (["Rain"], [*TEXTS, "No one came .", "Why ?"], [" ".join(TEXTS * 8), "Rain fell ."])
TOLERANCE = 1e-4  # largest accepted difference between the runtime and torch, relative to the largest value
INPUTS = ("input_ids", "attention_mask")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("model", help="folder or Hub name of a saved model")
    parser.add_argument("output", type=Path, help="file to write, which ends in .onnx")
    parser.add_argument("--task", choices=tuple(TASKS), help="what the graph computes; by default, what the model does")
    parser.add_argument("--hidden-states", action="store_true", help="give the vectors of each layer, too")
    parser.add_argument("--opset", type=int, metavar="N", help="version of ONNX's operators; by default torch's")
    parser.add_argument("--force", action="store_true", help="replace the output if it exists")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: Namespace) -> int:
    """Write the graph, after it was compared with torch on texts of several lengths."""
    output = arguments.output
    if output.suffix != ".onnx":
        raise ValueError(f"{output}: the output must end in .onnx")
    if output.exists() and not arguments.force:
        raise ValueError(f"{output} exists: choose another output, or replace it with --force")
    if not output.absolute().parent.is_dir():
        raise ValueError(f"{output}: there is no folder {output.absolute().parent}")
    try:
        import onnxruntime
        import onnxscript  # noqa: F401, torch's exporter needs it
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed: pip install onnx onnxscript onnxruntime") from None

    config = read_config(arguments.model)
    head = (config.architectures or [""])[0]
    task = arguments.task or TASK_OF_HEAD.get(head, "feature-extraction")
    tokenizer = load_tokenizer(arguments.model)
    model = load_model(getattr(transformers, TASKS[task]), arguments.model).cpu().eval()
    graph = Graph(model, arguments.hidden_states)
    batches = [examples(tokenizer, texts, task) for texts in (TEXTS, *CHECKED_TEXTS)]
    steps = tqdm(total=1 + len(batches), desc="Writing the graph, and comparing it", leave=False, disable=None)
    with tempfile.TemporaryDirectory(dir=output.absolute().parent, prefix=".export-") as folder, steps:
        file = Path(folder) / output.name
        outputs = write_graph(graph, batches[0], file, arguments.opset)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        differences = []
        for batch in batches:
            steps.update()
            differences.append(largest_difference(graph, session, batch))
        difference = float(torch.tensor(differences).max())  # not a number if one of them is
        if not difference <= TOLERANCE:
            raise ValueError(
                f"{arguments.model}: the graph differs from torch by {difference:.1e} of the largest value, which is "
                f"more than {TOLERANCE:.0e}; nothing was written"
            )
        size = file.stat().st_size
        os.replace(file, output)
    report = {
        "output": str(output),
        "task": task,
        "inputs": list(INPUTS),
        "outputs": outputs,
        "bytes": size,
        "largest_relative_difference": difference,
    }
    if arguments.json:
        print(json.dumps(report))
        return 0
    print(f"{output}: {task}, {size / 1e6:.1f} MB, any number of sentences and words")
    print(f"inputs {', '.join(INPUTS)}; outputs {', '.join(outputs)}")
    print(f"compared with torch on {len(batches)} batches: largest difference {difference:.1e} of the largest value")
    return 0


class Graph(nn.Module):
    """A model with the inputs and the outputs of the graph."""

    def __init__(self, model: PreTrainedModel, hidden_states: bool):
        super().__init__()
        self.model = model
        self.hidden_states = hidden_states

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Return the model's tensors by name; layers are stacked, `(L + 1, B, T, 2P)`."""
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=self.hidden_states)
        tensors = {name: value for name, value in output.items() if isinstance(value, Tensor)}
        if self.hidden_states:
            tensors["hidden_states"] = torch.stack(output.hidden_states)
        return tensors


def examples(tokenizer: PreTrainedTokenizerBase, texts: list[str], task: str) -> dict[str, Tensor]:
    """Encode texts, for questions with a text that answers."""
    pairs = (texts, [f"{text} {text}" for text in texts]) if task == "question-answering" else (texts,)
    batch = tokenizer(*pairs, padding=True, return_tensors="pt")
    return {name: batch[name] for name in INPUTS}


def write_graph(graph: Graph, batch: dict[str, Tensor], file: Path, opset: int | None) -> list[str]:
    """Write the graph and return the names of its outputs.

    Raises:
        `ValueError`: in one line, if a part of the model cannot be traced.
    """
    dynamic = {0: torch.export.Dim("sentences"), 1: torch.export.Dim("words")}
    with torch.no_grad():
        names = list(graph(**batch))
    try:
        with quiet_exporter():
            program = torch.onnx.export(
                graph,
                kwargs=batch,
                dynamo=True,
                dynamic_shapes=dict.fromkeys(INPUTS, dynamic),
                input_names=list(INPUTS),
                output_names=names,
                opset_version=opset,
                verbose=False,
            )
            program.save(file)
    except Exception as error:  # the exporter's own, of many kinds
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise ValueError(f"{type(graph.model).__name__} cannot be exported: {reason}") from error
    return names


def largest_difference(graph: Graph, session: Any, batch: dict[str, Tensor]) -> float:
    """Return the largest difference between both results, relative to the largest value of each output.

    Args:
        session: The graph in an `onnxruntime.InferenceSession`.
    """
    with torch.no_grad():
        expected = graph(**batch).values()
    computed = session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})
    pairs = zip(map(torch.from_numpy, computed), expected)
    return max(float((one - other).abs().max() / other.abs().max().clamp(min=1e-6)) for one, other in pairs)


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Silence the exporter's notes about optional libraries."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
