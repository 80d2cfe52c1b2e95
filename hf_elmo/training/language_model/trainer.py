# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The Trainer of language models: state carried from window to window, bilm-tf's optimization, exact resumption."""

import hashlib
import json
import logging
import math
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import TrainOutput

from ...model.language_model_elmo import ElmoForPreTraining
from ..checkpoints import (
    STAGING_FOLDER,
    TRAINER_STATE_FILE,
    AtomicCheckpointTrainer,
    correct_best_checkpoint,
    empty,
    intact_checkpoint,
)
from ..runs import duration
from .arguments import PretrainingArguments
from .corpus import SentenceQueue
from .perplexity import MAX_LOSS, sentence_losses
from .senses import Occurrences, sense_loss
from .streams import Streams, TrainingWindows, WordTable

logger = logging.getLogger("hf_elmo.training")

POSITION_FILE, STATE_FILE = "text_position.json", "lstm_state-{process}.safetensors"


class BiLMTrainer(AtomicCheckpointTrainer):
    """Trains [`ElmoForPreTraining`] on [`TrainingWindows`].

    Gradients are those of `loss x unroll_steps`, as in bilm-tf; logged losses are without the factor.

    Args:
        table: Encodes words of the held-out text.
        train_dataset: The training text, as batches.
        eval_dataset: Words of each held-out sentence, scored with the full softmax, each from a zero state.
        accumulators: Initial sums of squared gradients for Adagrad, by the parameter's name.
        occurrences: The words of the training text, for `args.sense_weight`.
    """

    def __init__(
        self,
        model: ElmoForPreTraining,
        args: PretrainingArguments,
        *,
        table: WordTable,
        train_dataset: TrainingWindows | None = None,
        accumulators: dict[str, Tensor] | None = None,
        occurrences: Occurrences | None = None,
        **kwargs,
    ):
        if args.optim == "adagrad":
            kwargs["optimizer_cls_and_kwargs"] = (
                torch.optim.Adagrad,
                {"lr": args.learning_rate, "initial_accumulator_value": 1.0, "eps": 0.0},
            )
        super().__init__(model, args, train_dataset=train_dataset, callbacks=[TimeEstimate(self)], **kwargs)
        self.table, self.accumulators, self.occurrences = table, accumulators or {}, occurrences
        vocab_size = model.config.word_vocab_size
        self.num_negative_samples = args.num_negative_samples if args.num_negative_samples < vocab_size else 0
        # The sampled softmax reads few rows of the softmax, and Adagrad changes only rows that have a gradient.
        model.sparse_softmax_gradient = (
            bool(self.num_negative_samples)
            and args.optim == "adagrad"
            and args.weight_decay == 0
            and args.max_grad_norm > 0
            and not (args.fp16 or self.is_fsdp_enabled or self.is_deepspeed_enabled)
            and model.lm_head.weight.requires_grad
        )
        if model.sparse_softmax_gradient:
            torch.sparse.check_sparse_tensor_invariants.disable()  # the default, which torch warns about otherwise
            model._ddp_params_and_buffers_to_ignore = ["lm_head.weight"]  # averaged by `_clip_grad_norm`
        self.lstm_states: list[tuple[Tensor, Tensor] | None] = [None] * args.gradient_accumulation_steps
        # Since the last log: forward and backward loss of the language model, number of batches, loss of senses
        self.logged = torch.zeros(4, dtype=torch.float64)
        self.last_log = (0, time.time())

    # ---- One step

    def get_train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_dataset, batch_size=None)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | int],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ):
        accumulation = inputs.pop("accumulation")
        # Every process and every batch of a step draws the same negative samples, by a seed unlike those around it.
        seed = hashlib.sha256(f"{self.args.seed}/{self.state.global_step}".encode()).digest()[:8]
        generator = torch.Generator().manual_seed(int.from_bytes(seed, "little") >> 1)
        extra = {
            "state": self.lstm_states[accumulation],
            "use_state": True,
            "num_negative_samples": self.num_negative_samples,
            "generator": generator,
        }
        loss, outputs = super().compute_loss(model, inputs | extra, True, num_items_in_batch)
        self.lstm_states[accumulation] = tuple(part.detach() for part in outputs["state"])
        of_senses = torch.zeros_like(loss)
        if self.occurrences is not None:
            of_senses = self.loss_of_senses(accumulation)
            loss = loss + self.args.sense_weight * of_senses / self.args.gradient_accumulation_steps
        parts = outputs["forward_loss"], outputs["backward_loss"], torch.ones_like(loss), of_senses
        losses = torch.stack(parts).detach().cpu()
        if not bool((losses < MAX_LOSS).all()):  # also where a loss is not a number
            raise self.divergence(f"the loss is {losses[:2].mean():g}")
        self.logged += losses
        loss = loss * self.args.unroll_steps
        return (loss, outputs) if return_outputs else loss

    def loss_of_senses(self, accumulation: int = 0) -> Tensor:
        """Return the loss of the draws of one batch: one draw for 8 streams. Those of a step are the same for one
        process, several, and several accumulated batches."""
        args = self.args
        draws = max(1, args.per_device_train_batch_size // 8)
        number = (self.state.global_step * args.gradient_accumulation_steps + accumulation) * args.world_size
        first = (number + args.process_index) * draws
        batch = self.occurrences.batch(range(first, first + draws))
        ids, *targets = (batch[name].to(args.device) for name in ("input_ids", "positions", "similarities"))
        # Not the wrapper of several processes, which expects one forward pass of a backward pass
        model = self.accelerator.unwrap_model(self.model)
        return sense_loss(model(input_ids=ids, output_hidden_states=True).hidden_states[1:], *targets)

    def training_step(self, *args, **kwargs) -> Tensor:
        return super().training_step(*args, **kwargs) / self.args.unroll_steps

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if new and self.accumulators:
            for name, parameter in self.model.named_parameters():
                if name in self.accumulators and parameter.requires_grad:
                    sums = self.accumulators[name].to(parameter)
                    # bilm-tf has no padding row, and a sum of 0 there would give 0 / 0.
                    optimizer.state[parameter]["sum"].copy_(torch.where(sums > 0, sums, 1.0))
        return optimizer

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """Clip gradients by their global norm, computed in double precision; sparse gradients are supported."""
        if self.args.fp16 or self.is_fsdp_enabled or self.is_deepspeed_enabled:  # gradients are scaled, or sharded
            return super()._clip_grad_norm(model)
        if self.model.sparse_softmax_gradient:
            weight = self.model.lm_head.weight
            weight.grad = self.mean_over_processes(weight.grad)
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        values = [gradient._values() if gradient.is_sparse else gradient for gradient in gradients]
        norm = torch.stack([torch.linalg.vector_norm(value, dtype=torch.float64) for value in values]).norm()
        if not bool(torch.isfinite(norm)):
            raise self.divergence(f"the norm of the gradient is {norm:g}")
        scale = (self.args.max_grad_norm / norm).clamp(max=1).to(torch.float32)
        for value in values if scale < 1 else ():
            value.mul_(scale)
        return norm

    def mean_over_processes(self, gradient: Tensor) -> Tensor:
        """Return the mean of a sparse gradient over all processes, which exchange only rows with a gradient."""
        gradient = gradient.coalesce()
        if self.args.world_size == 1:
            return gradient
        parts = [
            self.accelerator.gather(self.accelerator.pad_across_processes(part.contiguous()))
            for part in (gradient.indices().T, gradient.values() / self.args.world_size)
        ]  # padding adds 0 to row 0
        return torch.sparse_coo_tensor(parts[0].T, parts[1], gradient.shape).coalesce()

    def divergence(self, finding: str) -> ValueError:
        """Return the error that ends a run whose numbers are not finite. Nothing of it is saved."""
        last = intact_checkpoint(self.args.output_dir)
        return ValueError(
            f"training diverged in step {self.state.global_step + 1}: {finding}; {last}; give a lower --learning_rate "
            f"(it is {self.args.learning_rate:g}) and another --output_dir or --overwrite_output_dir"
        )

    def measure_step(self) -> float:
        """Return about how many seconds a training step needs here: of forward and backward passes on real text.

        The model, the position in the text and the random numbers of the run stay as they are. Where a step would take
        long, only some of its rows are computed.
        """
        rows = self.args.per_device_train_batch_size
        seconds = self.measure_rows(min(rows, 8))  # includes memory allocation and the compilation of kernels
        some = rows if self.args.device.type != "cpu" or seconds * rows / 8 < 10 else min(rows, 32)
        return self.measure_rows(some) * rows / some * self.args.gradient_accumulation_steps

    def measure_rows(self, rows: int) -> float:
        """Return the seconds of the forward and backward pass of one batch."""
        args, corpus = self.args, self.train_dataset.forward.sentences.corpus
        forward, backward = (
            Streams(SentenceQueue(corpus, block_size=rows), rows, turned).window(args.unroll_steps)
            for turned in (False, True)
        )
        batch = {name: tensor.to(args.device) for name, tensor in self.table.batch(forward, backward).items()}
        with torch.random.fork_rng([args.device] if args.device.type == "cuda" else []):
            started = time.perf_counter()
            with self.compute_loss_context_manager():
                loss = self.model.train()(**batch, num_negative_samples=self.num_negative_samples).loss
                if self.occurrences is not None and rows == args.per_device_train_batch_size:
                    loss = loss + self.loss_of_senses()
            loss.backward()
            loss.item()  # waits for the device
            seconds = time.perf_counter() - started
        self.model.zero_grad()
        return seconds

    # ---- Logs and evaluation

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add perplexities, words per second and the remaining time to the logs of training."""
        if "loss" in logs:
            forward, backward, batches, of_senses = self.accelerator.reduce(self.logged.to(self.args.device)).tolist()
            self.logged.zero_()
            forward, backward = forward / batches, backward / batches
            sampled = "sampled_" if self.num_negative_samples else ""  # not comparable with the full softmax
            logs |= {
                "loss": (forward + backward) / 2,
                f"{sampled}forward_perplexity": math.exp(forward),
                f"{sampled}backward_perplexity": math.exp(backward),
                f"{sampled}perplexity": math.exp((forward + backward) / 2),
            }
            if self.occurrences is not None:
                logs["sense_loss"] = of_senses / batches
            (last_step, last_time), step, now = self.last_log, self.state.global_step, time.time()
            if step > last_step:
                words_per_step = len(self.train_dataset.forward.rows) * self.args.unroll_steps
                logs["words_per_second"] = round((step - last_step) * words_per_step / (now - last_time), 1)
                logs["eta_seconds"] = round((self.state.max_steps - step) * (now - last_time) / (step - last_step))
            self.last_log = step, now
        super().log(logs, start_time)

    def evaluate(
        self,
        eval_dataset: list[list[str]] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Return perplexities of held-out sentences by the full softmax, each sentence from a zero state."""
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
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def final_evaluation(self) -> dict[str, float]:
        """Return the results of the final weights, from the last evaluation if that was after the last step."""
        last = next((log for log in reversed(self.state.log_history) if "eval_loss" in log), {})
        if last.get("step") != self.state.global_step or self.args.load_best_model_at_end:
            last = self.evaluate()
        return {name: last[name] for name in sorted(last) if name.startswith("eval_") and name != "eval_runtime"}

    # ---- Checkpoints

    def train(self, resume_from_checkpoint: str | None = None, **kwargs) -> TrainOutput:
        """Train; from a checkpoint, exactly as if the run had not been interrupted.

        A run that was interrupted after its last checkpoint is not trained further: it gets the weights of that one.
        """
        if resume_from_checkpoint is not None:
            self.restore(Path(resume_from_checkpoint))
            with self.args.main_process_first(desc="the place of the best checkpoint"):
                correct_best_checkpoint(Path(resume_from_checkpoint))
            state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / TRAINER_STATE_FILE))
            if state.global_step >= max(state.max_steps, self.args.max_steps):
                self.state = state
                self._load_from_checkpoint(resume_from_checkpoint)
                if self.args.load_best_model_at_end and state.best_model_checkpoint is not None:
                    self._load_best_model()
                return TrainOutput(state.global_step, math.nan, {})
        self.last_log = (self.train_dataset.windows_read, time.time())
        return super().train(resume_from_checkpoint, **kwargs)

    def layout(self) -> dict:
        """Return what must be unchanged for a checkpoint to be resumed: the rows of text, and the random numbers."""
        args, data = self.args, self.train_dataset
        return {
            "processes": args.world_size,
            "rows of a process": args.per_device_train_batch_size,
            "gradient accumulation steps": args.gradient_accumulation_steps,
            "unroll steps": args.unroll_steps,
            "negative samples": self.num_negative_samples,
            "seed": args.seed,
            "number of files": len(data.forward.sentences.corpus.shards),
            "windows of the text": data.num_windows,
            "vocabulary": hashlib.sha256("\n".join(filter(None, self.table.ids)).encode()).hexdigest()[:16],
        }

    def position(self, checkpoint: Path) -> dict:
        """Return what a checkpoint says about its position in the text, or refuse a checkpoint of another layout."""
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
        return saved

    def restore(self, checkpoint: Path) -> None:
        """Restore the position in the text and the LSTM's states from a checkpoint."""
        saved = self.position(checkpoint)
        self.train_dataset.restore(saved["text"])
        logged = torch.tensor(saved["logged"][self.args.process_index], dtype=torch.float64)
        self.logged[: len(logged)] = logged  # earlier versions had no loss of senses
        path = checkpoint / STATE_FILE.format(process=self.args.process_index)
        tensors = {name: tensor.to(self.args.device) for name, tensor in load_file(path).items()}
        self.lstm_states = [
            (tensors[f"output.{number}"], tensors[f"cell.{number}"]) for number in range(len(self.lstm_states))
        ]

    def save_more(self, folder: Path) -> None:
        """Write what `restore` reads: each process its states, the first one everything else."""
        tensors = {}
        for number, (output, cell) in enumerate(self.lstm_states):
            tensors |= {f"output.{number}": output.contiguous(), f"cell.{number}": cell.contiguous()}
        save_file(tensors, folder / STATE_FILE.format(process=self.args.process_index))
        logged = self.accelerator.gather(self.logged.to(self.args.device)[None]).tolist()
        if self.args.should_save:
            position = {"layout": self.layout(), "logged": logged, "text": self.train_dataset.state()}
            (folder / POSITION_FILE).write_text(json.dumps(position), encoding="utf-8")

    def check_weights(self) -> None:
        """Refuse to save weights that are not finite."""
        for name, parameter in self.model.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise self.divergence(f"{name} has values that are not finite")

    def _save_checkpoint(self, model: nn.Module, trial: None) -> None:
        self.check_weights()
        super()._save_checkpoint(model, trial)

    def save_to_staging(self) -> Path:
        """Save the trained model and the state of the Trainer into a staging folder, and return it."""
        self.check_weights()
        staging = Path(self.args.output_dir) / STAGING_FOLDER
        if self.args.should_save:
            empty(staging)
        self.save_model(str(staging), _internal_call=True)
        if self.args.should_save:
            self.state.save_to_json(str(staging / TRAINER_STATE_FILE))
        return staging

    def results(self) -> dict[str, float]:
        """Return the number of steps and the mean of the logged losses; an interruption does not change them."""
        losses = [log["loss"] for log in self.state.log_history if "loss" in log]
        return {"steps": self.state.global_step, "train_loss": sum(losses) / len(losses) if losses else None}


class TimeEstimate(TrainerCallback):
    """Logs before the first step how long a step and the whole training will take."""

    def __init__(self, trainer: BiLMTrainer):
        self.trainer = trainer

    def on_train_begin(
        self, args: PretrainingArguments, state: TrainerState, control: TrainerControl, **kwargs
    ) -> None:
        if args.should_log:
            seconds, steps = self.trainer.measure_step(), state.max_steps - state.global_step
            step, all_steps = f"{seconds:.1g}" if seconds < 1 else f"{seconds:.0f}", duration(seconds * steps)
            message = "A step takes about %s s here, and %s steps about %s, evaluations not included"
            logger.info(message, step, f"{steps:,}", all_steps)
