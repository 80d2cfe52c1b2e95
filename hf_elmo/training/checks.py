"""Checks that need no training and run before it: settings, packages, the output folder, the Hub."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import SchedulerType, Trainer, get_scheduler
from transformers.integrations import get_reporting_integration_callbacks
from transformers.trainer_utils import HubStrategy
from transformers.training_args import OptimizerNames

from ..model.modeling_elmo import ElmoPreTrainedModel
from .arguments import FineTuningArguments, check_least
from .checkpoints import TRAINER_STATE_FILE, last_checkpoint
from .language_model.arguments import PretrainingArguments
from .run_record import RunRecord
from .script import suggestion

LOWER_IS_BETTER = ("loss", "mse")
# Options of transformers that the scripts do not support, with their defaults: they break scoring or compiling
UNSUPPORTED = {"label_names": None, "batch_eval_metrics": False, "eval_do_concat_batches": True, "torch_compile": False}


def check_settings(start: str | None, args: FineTuningArguments | PretrainingArguments) -> None:
    """Check what needs neither data nor model, of which `start` is the name or folder to start from.

    `ValueError` or `OSError`, each in one line, if something is wrong.
    """
    if not args.output_dir:
        raise ValueError("--output_dir is missing: the folder for checkpoints, results and the trained model")
    check_writable("output_dir", args.output_dir)
    check_writable("cache_dir", getattr(args, "cache_dir", None) or args.output_dir)
    for name, value in UNSUPPORTED.items():
        if getattr(args, name) != value:
            raise ValueError(f"--{name} {getattr(args, name)}: these scripts have no use for it: leave it out")
    check_least(args, 1, "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")
    check_least(args, 1, "eval_accumulation_steps", *(["unroll_steps"] if hasattr(args, "unroll_steps") else []))
    check_least(args, 0, "weight_decay", "max_grad_norm")
    if args.language is not None and not re.fullmatch(r"[A-Za-z]+(-[A-Za-z0-9]+)*", args.language):
        raise ValueError(f"--language {args.language!r}: give one language code, such as en or pt-BR")
    if args.num_train_epochs <= 0 and args.max_steps <= 0:
        raise ValueError(f"--num_train_epochs must be above 0, but is {args.num_train_epochs:g}; or give --max_steps")
    if start is not None and Path(start).exists() and Path(start).resolve() == Path(args.output_dir).resolve():
        raise ValueError(f"--output_dir {args.output_dir} is the folder of the model to start from: give another one")
    if args.push_to_hub and args.hub_strategy != "end" and isinstance(args, FineTuningArguments):
        raise ValueError(f"--hub_strategy {HubStrategy(args.hub_strategy).value}: these scripts push once, at the end")
    if args.n_gpu > 1:
        raise ValueError(
            f"{args.n_gpu} GPUs are visible to one process: start with `torchrun --nproc-per-node {args.n_gpu}`, "
            "or make one visible, CUDA_VISIBLE_DEVICES=0"
        )
    for tracker in args.report_to:
        try:
            for callback in get_reporting_integration_callbacks([tracker]):
                callback()
        except (RuntimeError, ImportError, ValueError) as error:
            raise ValueError(f"--report_to {tracker}: {error}; or give --report_to none") from None
    check_checkpoint(args)
    if start is None and isinstance(args, FineTuningArguments):
        raise ValueError("--model_name_or_path is missing: a pretrained encoder, or a model trained for the task")


def check_checkpoint(args: FineTuningArguments | PretrainingArguments) -> None:
    """Replace `--resume_from_checkpoint True` by the last checkpoint, and check that there is such a checkpoint."""
    asked = args.resume_from_checkpoint
    if not asked or str(asked).lower() == "false":
        args.resume_from_checkpoint = None
        return
    if getattr(args, "seeds", None):  # pretraining has no such option
        raise ValueError("--resume_from_checkpoint is for one run: give it without --seeds, whose runs resume anyway")
    if str(asked).lower() == "true":
        args.resume_from_checkpoint = last_checkpoint(args.output_dir)
        if args.resume_from_checkpoint is None:
            if RunRecord(args.output_dir, {}, is_main=False).read().get("ended"):
                return  # with nothing left to resume, as the run will say
            raise ValueError(f"--resume_from_checkpoint: there is no checkpoint in {args.output_dir}")
    elif not Path(asked, TRAINER_STATE_FILE).is_file():
        raise ValueError(f"--resume_from_checkpoint {asked}: not a checkpoint, as {TRAINER_STATE_FILE} is missing")
    parents = Path(args.resume_from_checkpoint).resolve().parents
    if args.overwrite_output_dir and Path(args.output_dir).resolve() in parents:
        raise ValueError(
            f"--overwrite_output_dir would remove {args.resume_from_checkpoint}: give another --output_dir"
        )


def check_writable(option: str, folder: str) -> None:
    """Raise `ValueError` unless files can be written to a folder, which need not exist yet. Nothing is created."""
    existing = Path(folder).absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.is_dir():
        raise ValueError(f"--{option} {folder}: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"--{option} {folder}: no permission to write to {existing}")


def check_optimizer(args: FineTuningArguments | PretrainingArguments, model: ElmoPreTrainedModel) -> None:
    """Raise `ValueError` if the optimizer needs a missing package, or if it or the schedule has wrong arguments."""
    try:
        Trainer.get_optimizer_cls_and_kwargs(args, model)
    except (ImportError, RuntimeError, ValueError) as error:
        raise ValueError(f"--optim {OptimizerNames(args.optim).value}: {error}") from None
    name, options = SchedulerType(args.lr_scheduler_type).value, args.lr_scheduler_kwargs or {}
    try:
        get_scheduler(name, torch.optim.SGD(model.parameters()), 0, 1, scheduler_specific_kwargs={**options})
    except (TypeError, ValueError) as error:
        raise ValueError(f"--lr_scheduler_type {name}, --lr_scheduler_kwargs {options}: {error}") from None


def select_metric(args: FineTuningArguments, names: Iterable[str], default: str) -> None:
    """Select the metric that selects the best checkpoint: the chosen one, or the default of the task.

    Args:
        names: Metrics of the task.
    """
    chosen, names = (args.metric_for_best_model or default).removeprefix("eval_"), list(names)
    if names and chosen not in ("loss", *names):
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        raise ValueError(f"--metric_for_best_model {chosen}: the metrics are loss, {shown}{suggestion(chosen, names)}")
    args.metric_for_best_model = chosen
    if args.greater_is_better is None:
        args.greater_is_better = chosen not in LOWER_IS_BETTER
