"""The Trainer of task heads: batches of similar length, a penalty on the mixes, scores of the task, exact resume."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import (
    EarlyStoppingCallback,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import EvalLoopOutput, IntervalStrategy, TrainOutput

from ..model.task_model_elmo import ElmoTaskModel
from .arguments import FineTuningArguments
from .batches import EncodedDataset, LengthGroupedSampler, collate
from .checkpoints import TRAINER_STATE_FILE, AtomicCheckpointTrainer, intact_checkpoint


class TaskTrainer(AtomicCheckpointTrainer):
    """Trains a task head on [`EncodedDataset`]s.

    Args:
        datasets: The splits `train`, `validation` and `test`, as far as there are any.
        score: Returns the metrics of predictions on a dataset, the former in the order of its features.
        compute_loss_func: Replaces the model's own loss, as in [`~transformers.Trainer`].
    """

    def __init__(
        self,
        model: ElmoTaskModel,
        args: FineTuningArguments,
        datasets: dict[str, EncodedDataset],
        tokenizer: PreTrainedTokenizerBase,
        score: Callable[..., dict[str, float]],
        compute_loss_func: Callable | None = None,
    ):
        self.early_stopping = EarlyStoppingCallback(args.early_stopping_patience)
        stops = args.early_stopping_patience > 0 and args.eval_strategy != IntervalStrategy.NO
        super().__init__(
            model,
            args,
            data_collator=collate,
            train_dataset=datasets.get("train"),
            eval_dataset=datasets.get("validation"),
            processing_class=tokenizer,
            compute_loss_func=compute_loss_func,
            callbacks=[LogBeforeCheckpoint(), *([self.early_stopping] if stops else [])],
        )
        self.datasets, self.score = datasets, score

    def _get_train_sampler(self, train_dataset: EncodedDataset | None = None) -> Sampler | None:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        # Each batch is divided among the processes.
        return LengthGroupedSampler(len(self.train_dataset), self.args.train_batch_size * self.args.world_size, seed)

    def _get_eval_sampler(self, eval_dataset: EncodedDataset) -> Sampler:
        return SequentialSampler(eval_dataset)  # the dataset returns the longest first

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, dict]:
        """Return the task's loss; in training with the penalty on the weights of the mixes, once a step."""
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if self.args.mix_l2 and model.training:
            mixes = self.accelerator.unwrap_model(model).elmo.scalar_mixes
            penalty = self.args.mix_l2 * sum(mix.weights.square().sum() for mix in mixes)
            if self.model_accepts_loss_kwargs and num_items_in_batch is not None:
                # The losses of the batches of a step are added up; otherwise the base class takes their mean.
                penalty = penalty / self.current_gradient_accumulation_steps
            loss = loss + penalty
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args: object, **kwargs: object) -> Tensor:
        """Run a training step; a loss that is not finite ends the run before the optimizer uses its gradient."""
        loss = super().training_step(*args, **kwargs)
        if not loss.isfinite():
            raise ValueError(
                f"the loss of step {self.state.global_step + 1} is {loss.item()}: give a lower --learning_rate or "
                f"--max_grad_norm; {intact_checkpoint(self.args.output_dir)}"
            )
        return loss

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Return predictions in the order of the dataset's features, and their metrics."""
        output = super().evaluation_loop(dataloader, description, False, ignore_keys, metric_key_prefix)
        dataset: EncodedDataset = dataloader.dataset
        predictions = dataset.in_given_order(output.predictions)
        scores = {f"{metric_key_prefix}_{name}": value for name, value in self.score(dataset, predictions).items()}
        return output._replace(predictions=predictions, metrics={**output.metrics, **scores})

    def train(self, resume_from_checkpoint: str | None = None, **kwargs: object) -> TrainOutput:
        """Train; from a checkpoint, exactly as if the run had not been interrupted."""
        if resume_from_checkpoint is not None:
            state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / TRAINER_STATE_FILE))
            saved = state.stateful_callbacks.get("EarlyStoppingCallback", {"attributes": {}})["attributes"]
            for name, value in saved.items():
                setattr(self.early_stopping, name, value)
            if 0 < self.args.early_stopping_patience <= saved.get("early_stopping_patience_counter", 0):
                self.args.max_steps = state.global_step  # the run had stopped there
        return super().train(resume_from_checkpoint, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "train_loss" in logs:  # the Trainer's own mean leaves out the steps before the run was resumed
            logs["train_loss"] = self.train_loss
        super().log(logs, start_time)

    @property
    def train_loss(self) -> float:
        """Mean training loss of all steps, also of those before the run was resumed."""
        logs = [log for log in self.state.log_history if "loss" in log]
        before = [0, *(log["step"] for log in logs)]
        return sum(log["loss"] * (log["step"] - last) for log, last in zip(logs, before)) / before[-1]


class LogBeforeCheckpoint(TrainerCallback):
    """Logs the loss whenever a checkpoint may be saved, so that no checkpoint lies between two logs of a mean loss."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        control.should_log |= control.should_save or control.should_evaluate or state.global_step >= state.max_steps

    on_epoch_end = on_step_end
