"""The Trainer of task heads: batches of like length, a penalty on the mixes, scores by the task, exact resume."""

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Sampler, SequentialSampler
from transformers import PreTrainedTokenizerBase, TrainerCallback, TrainerState
from transformers.trainer_utils import EvalLoopOutput

from ..model.task_model_elmo import ElmoTaskModel
from .arguments import FineTuningArguments
from .checkpoints import TRAINER_STATE_FILE, AtomicCheckpointTrainer
from .encoded import BatchesByLength, Split, collate
from .task import Task


class FineTuner(AtomicCheckpointTrainer):
    """Trains a task head on a [`Split`].

    Args:
        task ([`Task`]): Scores predictions.
        train_dataset, eval_dataset ([`Split`], *optional*): As in [`~transformers.Trainer`].
    """

    def __init__(
        self,
        task: Task,
        model: ElmoTaskModel,
        args: FineTuningArguments,
        train_dataset: Split | None,
        eval_dataset: Split | None,
        tokenizer: PreTrainedTokenizerBase,
    ):
        stops = args.early_stopping_patience > 0 and eval_dataset is not None
        super().__init__(
            model,
            args,
            data_collator=collate,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=tokenizer,
            callbacks=[EarlyStopping(args)] if stops else None,
        )
        self.task = task

    def _get_train_sampler(self, train_dataset: Split | None = None) -> Sampler | None:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        # The batches of all processes are dealt out of one that is as large as they are together.
        return BatchesByLength(len(self.train_dataset), self.args.train_batch_size * self.args.world_size, seed)

    def _get_eval_sampler(self, eval_dataset: Split) -> Sampler:
        return SequentialSampler(eval_dataset)  # which gives the longest first

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The task's loss; in training with the penalty on the mixes' weights, once a step."""
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if self.args.mix_l2 and model.training:
            mixes = self.accelerator.unwrap_model(model).elmo.scalar_mixes
            penalty = self.args.mix_l2 * sum(mix.weights.square().sum() for mix in mixes)
            if self.model_accepts_loss_kwargs and num_items_in_batch is not None:
                # The losses of the batches of a step are added up; otherwise the base class takes their mean.
                penalty = penalty / self.current_gradient_accumulation_steps
            loss = loss + penalty
        return (loss, outputs) if return_outputs else loss

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ) -> EvalLoopOutput:
        """Predictions in the order of the split's features, and the task's measures of them."""
        output = super().evaluation_loop(dataloader, description, False, ignore_keys, metric_key_prefix)
        split: Split = dataloader.dataset
        predictions = split.in_given_order(output.predictions)
        scores = self.task.score(split, predictions)
        metrics = {**output.metrics, **{f"{metric_key_prefix}_{name}": value for name, value in scores.items()}}
        self.check_measure(metrics)
        return output._replace(predictions=predictions, metrics=metrics)

    def check_measure(self, metrics: dict[str, float]):
        """Raises `ValueError` if checkpoints are to be compared by a measure that there is not."""
        measure, prefix = self.args.metric_for_best_model, "eval_"
        if self.is_in_train and measure is not None and f"{prefix}{measure.removeprefix(prefix)}" not in metrics:
            names = ", ".join(name.removeprefix(prefix) for name in metrics if is_measure(name))
            raise ValueError(
                f"--metric_for_best_model: the measures are {names}, but not {measure.removeprefix(prefix)}; "
                "validation examples without labels have only their loss"
            )

    def train(self, resume_from_checkpoint: str | None = None, **kwargs):
        """Train; from a checkpoint as if it had not been interrupted, not at all if the run had come to its end."""
        stops = next((one for one in self.callback_handler.callbacks if isinstance(one, EarlyStopping)), None)
        if resume_from_checkpoint is not None and stops is not None:
            state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / TRAINER_STATE_FILE))
            if stops.has_waited_enough(state):
                self.args.max_steps = state.global_step
        return super().train(resume_from_checkpoint, **kwargs)


class EarlyStopping(TrainerCallback):
    """Ends training when the measure has not got better for some evaluations.

    It reads the log, and so knows in a resumed run what was before.
    """

    def __init__(self, args: FineTuningArguments):
        self.patience, self.greater_is_better = args.early_stopping_patience, args.greater_is_better
        self.measure = f"eval_{args.metric_for_best_model.removeprefix('eval_')}"

    def has_waited_enough(self, state: TrainerState) -> bool:
        values = [log[self.measure] for log in state.log_history if self.measure in log]
        if not values:
            return False
        best = np.argmax(values) if self.greater_is_better else np.argmin(values)
        return len(values) - 1 - int(best) >= self.patience

    def on_evaluate(self, args, state, control, **kwargs):
        control.should_training_stop |= self.has_waited_enough(state)


def is_measure(name: str) -> bool:
    """Whether a number that an evaluation gives says how good predictions were, not how long they took."""
    timing = ("_runtime", "_samples_per_second", "_steps_per_second", "_model_preparation_time")
    return name.startswith(("eval_", "test_")) and not name.endswith(timing)


def mixes_of(model: ElmoTaskModel) -> dict[str, list]:
    """The mixes as reports give them: the share of each layer in each mix, and the scales."""
    return {
        "mix_weights": [[round(share, 6) for share in shares] for shares in model.elmo.mix_weights().tolist()],
        "mix_scales": [round(scale, 6) for scale in model.elmo.mix_scales().tolist()],
    }


def set_mixes(model: ElmoTaskModel, choice: str):
    """Set all mixes as `--mix` says: to be learnt, or fixed: the mean, the top layer, or one layer by its number.

    Raises:
        `ValueError`: if there is no such choice.
    """
    layers = model.config.num_hidden_layers + 1
    if choice == "learnt":
        return
    if choice == "mean":
        shares = torch.ones(layers)
    elif choice == "top" or (choice.isdecimal() and int(choice) < layers):
        shares = torch.zeros(layers)
        shares[-1 if choice == "top" else int(choice)] = 1
    else:
        raise ValueError(f"--mix must be learnt, mean, top, or a layer from 0 to {layers - 1}, but is {choice!r}")
    for mix in range(len(model.elmo.scalar_mixes)):
        model.elmo.set_mix_weights(shares, mix=mix)
    model.elmo.freeze_mix()
    model.config.mix_trainable = False
