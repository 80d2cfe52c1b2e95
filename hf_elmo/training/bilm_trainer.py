"""The Trainer of language models: state carried along the streams, the original's optimization, exact resume."""

import hashlib
import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from huggingface_hub import EvalResult
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from ..hub import keep_written_card
from ..model.language_model_elmo import ElmoForPreTraining
from .checkpoints import AtomicCheckpointTrainer
from .perplexity import sentence_losses
from .streams import TrainingWindows, WordTable

POSITION_FILE, STATE_FILE = "text_position.json", "lstm_state-{process}.safetensors"


@dataclass
class PretrainingArguments(TrainingArguments):
    """`TrainingArguments` with the original's values as defaults, and what only language models need."""

    output_dir: str = field(default="", metadata={"help": "The folder for checkpoints and the trained model."})
    num_train_epochs: float = field(default=10, metadata={"help": "Passes over the text."})
    per_device_train_batch_size: int = field(default=128, metadata={"help": "Streams of text of one process."})
    unroll_steps: int = field(
        default=20, metadata={"help": "Words of a stream in one step; gradients go no further back."}
    )
    num_negative_samples: int = field(
        default=8192,
        metadata={
            "help": "Words that a step's words are told from, one draw a direction. 0, or a vocabulary that is no "
            "larger, trains on the full softmax."
        },
    )
    optim: str = field(
        default="adagrad",
        metadata={
            "help": "adagrad is the original's, accumulators starting at 1, no epsilon; or any other of transformers."
        },
    )
    learning_rate: float = field(default=0.2, metadata={"help": "The initial learning rate."})
    lr_scheduler_type: str = field(default="constant", metadata={"help": "The schedule of the learning rate."})
    max_grad_norm: float = field(
        default=10.0, metadata={"help": "Bound of the global norm of the gradient of loss x unroll_steps."}
    )
    logging_steps: float = field(default=100, metadata={"help": "Steps between two logs."})
    save_steps: float = field(default=1250, metadata={"help": "Steps between two checkpoints."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints kept."})
    hub_strategy: str = field(default="end", metadata={"help": "When to push: checkpoints too are `every_save`."})


class BiLMTrainer(AtomicCheckpointTrainer):
    """Trains [`ElmoForPreTraining`] on [`TrainingWindows`].

    `loss x unroll_steps` is what gradients are taken of, as in the original; logged losses are without the factor.

    Args:
        table ([`WordTable`]): Spells words of the held-out text.
        train_dataset ([`TrainingWindows`]): The text, as batches.
        eval_dataset (`list` of lists of words, *optional*):
            Held-out sentences, scored with the full softmax, each from a zero state.
        accumulators (`dict[str, Tensor]`, *optional*): Adagrad's sums of squared gradients to go on from, by parameter.
    """

    def __init__(
        self,
        model: ElmoForPreTraining,
        args: PretrainingArguments,
        *,
        table: WordTable,
        train_dataset: TrainingWindows | None = None,
        accumulators: dict[str, Tensor] | None = None,
        **kwargs,
    ):
        if args.optim == "adagrad":
            kwargs["optimizer_cls_and_kwargs"] = (
                torch.optim.Adagrad,
                {"lr": args.learning_rate, "initial_accumulator_value": 1.0, "eps": 0.0},
            )
        super().__init__(model, args, train_dataset=train_dataset, **kwargs)
        if args.n_gpu > 1:
            raise ValueError(
                f"{args.n_gpu} GPUs are visible to one process: start with `torchrun --nproc-per-node {args.n_gpu}`, "
                "or let it see one, CUDA_VISIBLE_DEVICES=0"
            )
        self.table, self.accumulators = table, accumulators or {}
        vocab_size = model.config.word_vocab_size
        self.num_negative_samples = args.num_negative_samples if args.num_negative_samples < vocab_size else 0
        # A sampled softmax reads few of its rows, and this optimizer changes only those that have a gradient.
        model.sparse_softmax_gradient = (
            bool(self.num_negative_samples)
            and args.optim == "adagrad"
            and args.weight_decay == 0
            and args.max_grad_norm > 0
            and not (args.fp16 or self.is_fsdp_enabled or self.is_deepspeed_enabled)
            and model.lm_head.weight.requires_grad
        )
        if model.sparse_softmax_gradient:
            model._ddp_params_and_buffers_to_ignore = ["lm_head.weight"]  # `_clip_grad_norm` sees to it
        self.lstm_states: list[tuple[Tensor, Tensor] | None] = [None] * args.gradient_accumulation_steps
        self.logged = torch.zeros(3, dtype=torch.float64)  # forward loss, backward loss, batches since the last log
        self.last_log = (0, time.time())
        self.facts: dict[str, str] = {}  # for the model's card, as `model_card` takes them
        self.held_out_name = "held-out text"

    # ---- One step

    def get_train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_dataset, batch_size=None)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        place = inputs.pop("accumulation")
        # Every process and every batch of a step draws the same words.
        generator = torch.Generator().manual_seed(seed_of(self.args.seed, self.state.global_step))
        extra = {
            "state": self.lstm_states[place],
            "use_state": True,
            "num_negative_samples": self.num_negative_samples,
            "generator": generator,
        }
        loss, outputs = super().compute_loss(model, inputs | extra, True, num_items_in_batch)
        self.lstm_states[place] = tuple(part.detach() for part in outputs["state"])
        self.logged += (
            torch.stack([outputs["forward_loss"], outputs["backward_loss"], torch.ones_like(loss)]).detach().cpu()
        )
        loss = loss * self.args.unroll_steps
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args, **kwargs) -> Tensor:
        return super().training_step(*args, **kwargs) / self.args.unroll_steps

    def create_optimizer(self, model=None):
        new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if new and self.accumulators:
            for name, parameter in self.model.named_parameters():
                if name in self.accumulators and parameter.requires_grad:
                    sums = self.accumulators[name].to(parameter)
                    # The padding row, which the original has not, never gets a gradient: 0 / 0 otherwise.
                    optimizer.state[parameter]["sum"].copy_(torch.where(sums > 0, sums, 1.0))
        return optimizer

    def _clip_grad_norm(self, model) -> Tensor:
        """Clip by the global norm, summed in double precision: as the base class does, of sparse gradients too."""
        if self.args.fp16 or self.is_fsdp_enabled or self.is_deepspeed_enabled:  # gradients are scaled, or elsewhere
            return super()._clip_grad_norm(model)
        if self.model.sparse_softmax_gradient:
            weight = self.model.lm_head.weight
            weight.grad = self.mean_of_processes(weight.grad)
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        values = [gradient._values() if gradient.is_sparse else gradient for gradient in gradients]
        norm = torch.stack([torch.linalg.vector_norm(value, dtype=torch.float64) for value in values]).norm()
        scale = (self.args.max_grad_norm / norm).clamp(max=1).to(torch.float32)
        for value in values:
            value.mul_(scale)
        return norm

    def mean_of_processes(self, gradient: Tensor) -> Tensor:
        """The mean of a sparse gradient over processes, each row once: the rows travel, not the whole vocabulary."""
        gradient = gradient.coalesce()
        if self.args.world_size == 1:
            return gradient
        parts = [
            self.accelerator.gather(self.accelerator.pad_across_processes(part.contiguous()))
            for part in (gradient.indices().T, gradient.values() / self.args.world_size)
        ]  # rows that only pad add 0 to row 0
        return torch.sparse_coo_tensor(parts[0].T, parts[1], gradient.shape).coalesce()

    # ---- Logs and evaluation

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds perplexities, words a second and the time left to the logs of training."""
        if "loss" in logs:
            forward, backward, batches = self.accelerator.reduce(self.logged.to(self.args.device)).tolist()
            self.logged.zero_()
            forward, backward = forward / batches, backward / batches
            sampled = "sampled_" if self.num_negative_samples else ""  # not comparable with perplexities of all words
            logs |= {
                "loss": (forward + backward) / 2,
                f"{sampled}forward_perplexity": math.exp(forward),
                f"{sampled}backward_perplexity": math.exp(backward),
                f"{sampled}perplexity": math.exp((forward + backward) / 2),
            }
            (last_step, last_time), step, now = self.last_log, self.state.global_step, time.time()
            if step > last_step:
                words_a_step = len(self.train_dataset.forward.rows) * self.args.unroll_steps
                logs["words_per_second"] = round((step - last_step) * words_a_step / (now - last_time), 1)
                logs["eta_seconds"] = round((self.state.max_steps - step) * (now - last_time) / (step - last_step))
            self.last_log = step, now
        super().log(logs, start_time)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """Perplexities of held-out sentences, by the full softmax, each sentence from a zero state."""
        started, was_training = time.time(), self.model.training
        losses = sentence_losses(
            self.model.eval(),
            self.table,
            self.eval_dataset if eval_dataset is None else eval_dataset,
            self.args.process_index,
            self.args.world_size,
        )
        self.model.train(was_training)
        losses.sums = self.accelerator.reduce(losses.sums.to(self.args.device)).cpu()
        losses.tokens = int(self.accelerator.reduce(torch.tensor(losses.tokens, device=self.args.device)))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in losses.metrics().items()}
        metrics[f"{metric_key_prefix}_loss"] = math.log(metrics[f"{metric_key_prefix}_perplexity"])
        metrics[f"{metric_key_prefix}_runtime"] = round(time.time() - started, 2)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    # ---- Checkpoints

    def train(self, resume_from_checkpoint: str | None = None, **kwargs):
        """Train; from a checkpoint, exactly as if it had not been interrupted."""
        if resume_from_checkpoint is not None:
            self.restore(Path(resume_from_checkpoint))
        self.last_log = (self.text_steps(), time.time())
        return super().train(resume_from_checkpoint, **kwargs)

    def text_steps(self) -> int:
        return self.train_dataset.windows_read

    def layout(self) -> dict:
        """What must be as it was for a checkpoint to be resumed: how text is dealt to rows, and what chance decides."""
        args, data = self.args, self.train_dataset
        return {
            "processes": args.world_size,
            "rows of a process": args.per_device_train_batch_size,
            "gradient accumulation steps": args.gradient_accumulation_steps,
            "unroll steps": args.unroll_steps,
            "negative samples": self.num_negative_samples,
            "seed": args.seed,
            "files of the text": list(data.forward.sentences.corpus.shards),
            "windows of the text": data.num_windows,
            "vocabulary": hashlib.sha256("\n".join(filter(None, self.table.ids)).encode()).hexdigest()[:16],
        }

    def restore(self, checkpoint: Path):
        """Take up the position in the text and the LSTM's states where a checkpoint left them."""
        path = checkpoint / POSITION_FILE
        if not path.is_file():
            raise ValueError(
                f"{checkpoint}: no checkpoint of this script to resume from, as {POSITION_FILE} is missing"
            )
        saved = json.loads(path.read_text(encoding="utf-8"))
        for name, now in self.layout().items():
            if saved["layout"].get(name) != now:
                raise ValueError(
                    f"{checkpoint}: made with {name} {saved['layout'].get(name)}, now {now}: it can be resumed with "
                    "the same settings only; for others, start a new run with --model_name_or_path set to it"
                )
        self.train_dataset.restore(saved["text"])
        self.logged = torch.tensor(saved["logged"][self.args.process_index], dtype=torch.float64)
        tensors = load_file(
            checkpoint / STATE_FILE.format(process=self.args.process_index), device=str(self.args.device)
        )
        self.lstm_states = [
            (tensors[f"output.{place}"], tensors[f"cell.{place}"]) for place in range(len(self.lstm_states))
        ]

    def save_more(self, folder: Path):
        """What `restore` reads: each process its states, the first one the rest."""
        tensors = {}
        for place, (output, cell) in enumerate(self.lstm_states):
            tensors |= {f"output.{place}": output.contiguous(), f"cell.{place}": cell.contiguous()}
        save_file(tensors, folder / STATE_FILE.format(process=self.args.process_index))
        logged = self.accelerator.gather(self.logged.to(self.args.device)[None]).tolist()
        if self.args.should_save:
            position = {"layout": self.layout(), "logged": logged, "text": self.train_dataset.state()}
            (folder / POSITION_FILE).write_text(json.dumps(position), encoding="utf-8")

    def save_trained(self):
        """Put the trained model into the output folder, each file under its name when it is complete."""
        output_dir = Path(self.args.output_dir)
        staging = output_dir / "_unfinished"
        self.save_model(str(staging), _internal_call=True)
        if self.args.should_save:
            for path in staging.iterdir():
                os.replace(path, output_dir / path.name)
            staging.rmdir()

    def create_model_card(self, model_name: str | None = None, **kwargs):
        """The card of this run, in the output folder: `facts` and what was measured last. A written one is kept."""
        if not self.is_world_process_zero() or keep_written_card(
            self.args.output_dir, self.hub_model_id, self.args.hub_token
        ):
            return
        measured = next((log for log in reversed(self.state.log_history) if "eval_perplexity" in log), {})
        results = [
            EvalResult(
                task_type="text-generation",
                dataset_type="local",
                dataset_name=self.held_out_name,
                dataset_split="validation",
                dataset_args={"tokens": measured["eval_tokens"]},
                metric_type="perplexity",
                metric_name=f"{name.replace('_', ' ')} of {measured['eval_tokens']} words",
                metric_value=measured[f"eval_{name}"],
            )
            for name in ("perplexity", "forward_perplexity", "backward_perplexity")
            if measured
        ]
        name = self.hub_model_id or model_name or Path(self.args.output_dir).resolve().name
        model = self.accelerator.unwrap_model(self.model)
        online = self.hub_model_id is not None
        card = model.card(name, online=online, eval_results=results or None, **self.facts)
        card.save(Path(self.args.output_dir) / "README.md")


def seed_of(seed: int, step: int) -> int:
    """A seed for one step, unlike those of its neighbors."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}".encode()).digest()[:8], "little") >> 1
