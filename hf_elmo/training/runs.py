"""The runs of a command, one for each seed, from the first check to the folder that can be uploaded.

A single run has the output folder to itself. Of several (`--seeds 1 2 3`), each has a folder `seed-N` in it, and in
the end the output folder holds the best of them by the validation examples. Files get their final names when all of
them are complete, and a run is recorded as ended after that, so that the same command resumes whatever was interrupted.
"""

import contextlib
import copy
import logging
import math
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers.trainer_utils import IntervalStrategy

from ..hub import remove_code_and_card
from ..model.model_card_elmo import CLASSES
from ..model.task_model_elmo import ElmoTaskModel
from ..tables import Table
from .arguments import DataArguments, FineTuningArguments, ModelArguments
from .batches import collate
from .checkpoints import (
    STAGING_FOLDER,
    TRAINER_STATE_FILE,
    checkpoint_to_resume,
    empty,
    move_into_place,
    remove_checkpoints,
    write_json,
)
from .checks import check_optimizer, select_metric
from .data.splits import Splits, sample
from .encoder_cache import EncoderCache
from .run_card import measured, publish, repository_name, save_card, training_section
from .run_plots import draw_run
from .run_record import PLOTS, RunRecord, configuration_digest, digest, settings_of, tokenizer_digest
from .script import RESULTS_FILE
from .starting_model import StartingModel
from .tasks import Task
from .trainer import TaskTrainer

logger = logging.getLogger("hf_elmo.training")

# Removed before those of a new run are moved in.
RESULT_FILES = ("*.safetensors", "*_predictions*", "*_results.json", *PLOTS)
ENDED = "%s: this run has ended before, and its results are kept; --overwrite_output_dir True starts it again"
TIMINGS = ("_runtime", "_samples_per_second", "_steps_per_second", "_model_preparation_time")


@dataclass
class Runs:
    """All runs of a command.

    `ValueError` if the output folder belongs to other runs, or something that training needs is missing.
    """

    command: list[str]  # for the model card
    data: DataArguments
    model_args: ModelArguments
    args: FineTuningArguments
    splits: Splits  # the data, which identify the runs together with the settings and the starting model
    start: StartingModel  # what every run begins with, and the encoded examples
    task: Task

    def __post_init__(self):
        args, splits, start, task = self.args, self.splits, self.start, self.task
        self.folder, self.seeds = Path(args.output_dir), args.seeds or [args.seed]
        self.cache = EncoderCache(args.cache_dir)
        if self.data.train_fraction < 1 and splits.train is None:
            raise ValueError(f"--train_fraction {self.data.train_fraction:g}: there is no training data to draw from")
        select_metric(args, task.metric_names(splits), task.default_metric)
        logger.info("%s", splits.describe())
        model = start.create(seed=0)
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        logger.info("%-13s%s, %s of them trained", "parameters:", f"{model.num_parameters():,}", f"{trained:,}")
        check_optimizer(args, model)
        settings = settings_of(self.data, self.model_args, args)
        del settings["--seed"]
        self.identity = settings | {
            "labels": list(start.config.id2label.values()) if splits.label_names else None,
            "data": f"sha256:{splits.digest()}",
            "configuration": configuration_digest(start.config),
            "tokenizer": tokenizer_digest(start.tokenizer),
            "starting model": digest(part for weight in model.state_dict().items() for part in weight),
        }
        identity = self.identity | ({} if args.seeds else {"--seed": args.seed})
        self.record = RunRecord(self.folder, identity, is_main=args.should_save)

    def train(self) -> None:
        """Train with each seed, from where an interrupted command stopped, and make the output folder complete."""
        started = time.time()
        with self.args.main_process_first(desc="the record of the run"):
            if self.is_complete():
                logger.info(ENDED, self.folder)
                self.clean_up()
                self.record.close()  # removes what a kill in the run's last moment leaves
                return
            if self.args.push_to_hub and self.args.should_save:
                repository_name(self.args)  # refused now rather than after training
            self.record.claim(self.args.overwrite_output_dir)
        with contextlib.closing(self.record):
            results, model = [], None
            with self.cache:
                for seed in self.seeds:
                    run = Run(self, seed)
                    if run.has_ended():
                        logger.info(ENDED, run.folder)
                        results.append(run.record.read()["results"])
                        continue
                    if self.data.train_fraction < 1 and self.splits.train is not None:
                        part = sample(self.splits.train, self.data.train_fraction, seed)
                        self.start.datasets["train"] = self.task.encode_training(part)
                    datasets, task = self.start.datasets, self.task
                    model = self.start.create(seed)
                    trainer = task.trainer(model, run.args, datasets, task.tokenizer, task.score, task.loss)
                    run.train(trainer)
                    run.evaluate(trainer)
                    results.append(run.results)
                    model = run.model
            if self.args.should_save:
                self.finish(results, model, round(time.time() - started, 1))

    def is_complete(self) -> bool:
        """Return whether these very runs have ended before."""
        if self.args.overwrite_output_dir or not self.record.has_ended():
            return False
        return [run["seed"] for run in self.record.read()["results"]["runs"]] == self.seeds

    def finish(self, runs: list[dict], model: ElmoTaskModel | None, seconds: float) -> None:
        """Make the output folder complete: model, tokenizer, card, predictions and results; then push it.

        Args:
            runs: The results of each run.
            model: The model of the last run, if it was trained.
        """
        results = {
            **summary(runs),
            "best_seed": best_of(runs, self.args)["seed"],
            "seconds": seconds,
            "seconds_computing_layers": round(self.cache.seconds, 1),
        }
        report(results, self.args.metric_for_best_model)
        staging = self.folder / STAGING_FOLDER
        histories = {"": staging}
        if self.args.seeds:
            histories = {f"seed {seed}": self.folder / f"seed-{seed}" for seed in self.seeds}
            best = histories[f"seed {results['best_seed']}"]
            empty(staging)
            for path in [*best.glob("*_predictions*"), *best.glob(TRAINER_STATE_FILE)]:
                shutil.copy2(path, staging)
            model = self.start.head.from_pretrained(best) if list(best.glob("*.safetensors")) else None
        if self.args.plots:
            states = {name: folder / TRAINER_STATE_FILE for name, folder in histories.items()}
            draw_run(staging, results, states, self.args.metric_for_best_model)
        if model is not None:
            model.save_pretrained(staging)
            self.start.save_tokenizers(staging)
            self.save_card(model, staging, results)
        write_json(staging / RESULTS_FILE, results)
        move_into_place(staging, self.folder, stale=RESULT_FILES)
        if model is not None and self.args.push_to_hub:
            publish(self.args)
        self.record.finish(results)
        logger.info("%-13s%s", "saved in:", self.folder)
        self.clean_up()

    def clean_up(self) -> None:
        """Remove what only an interrupted run needs."""
        if self.args.should_save and not self.args.keep_checkpoints:
            for folder in (self.folder, *self.folder.glob("seed-*")):
                remove_checkpoints(folder)

    def save_card(self, model: ElmoTaskModel, folder: Path, results: dict) -> None:
        """Write the card of the trained model, with the results of all runs."""
        model.trained_from, model.loaded_weights = self.model_args.model_name_or_path, None
        best, data = best_of(results["runs"], self.args), self.data
        save_card(
            model,
            folder,
            self.args,
            repository_name(self.args) if self.args.push_to_hub else None,
            self.command,
            training_section(self.model_args, self.args, results, best),
            eval_results=measured(CLASSES[type(model).__name__].task, data, results, best) or None,
            datasets=[data.dataset_name] if data.dataset_name and not Path(data.dataset_name).exists() else None,
        )


class Run:
    """One run: its arguments, folder and results."""

    def __init__(self, runs: Runs, seed: int):
        self.runs, self.started = runs, time.time()
        self.is_one_of_several = bool(runs.args.seeds)
        self.folder = runs.folder / f"seed-{seed}" if self.is_one_of_several else runs.folder
        self.record = RunRecord(self.folder, runs.identity | {"--seed": seed}, is_main=False)  # the outer one locks
        self.args = copy.copy(runs.args)
        self.args.output_dir, self.args.seed, self.args.push_to_hub = str(self.folder), seed, False
        if runs.splits.validation is None:
            self.args.eval_strategy, self.args.load_best_model_at_end = IntervalStrategy.NO, False
        self.results: dict = {"seed": seed}
        self.model: ElmoTaskModel | None = None  # trained

    def has_ended(self) -> bool:
        """Return whether this one of several runs has ended before; claim its folder if it has not."""
        if not self.is_one_of_several:
            return False
        with self.args.main_process_first(desc="the record of the run"):
            has_ended = self.record.has_ended()
            if not has_ended:
                self.record.claim()
        return has_ended

    def train(self, trainer: TaskTrainer) -> None:
        """Compute the layers of a frozen encoder, and train, from the last checkpoint if there is one."""
        if self.runs.model_args.freeze_encoder and self.args.cache_encoder_outputs:
            for dataset in trainer.datasets.values():
                self.runs.cache.fill(trainer.model, dataset)
        if "train" not in trainer.datasets:
            return
        checkpoint = checkpoint_to_resume(self.args.resume_from_checkpoint, self.folder)
        logger.info("%-13s%s", "time:", expected_time(trainer))
        if checkpoint is not None:
            logger.info("Resuming from %s", checkpoint)
        seconds = trainer.train(checkpoint).metrics["train_runtime"]
        state = trainer.state
        if state.global_step < state.max_steps:
            reason = f"{self.args.early_stopping_patience} evaluations brought no better result"
            logger.info("%-13s%s", "stopped:", f"after {state.global_step} of {state.max_steps} steps, as {reason}")
        if state.best_global_step and self.args.load_best_model_at_end:
            logger.info("%-13s%s", "weights:", f"those of step {state.best_global_step}, the best by validation")
        self.results |= {"train_loss": trainer.train_loss, "train_runtime": seconds}
        self.results |= {"steps": state.global_step, "best_step": state.best_global_step}
        self.model = trainer.accelerator.unwrap_model(trainer.model)

    def evaluate(self, trainer: TaskTrainer) -> None:
        """Score validation and test examples, and write predictions."""
        staging, saves = self.folder / STAGING_FOLDER, self.args.should_save
        if saves:
            empty(staging)
        for name, prefix in (("validation", "eval"), ("test", "test")):
            if name in trainer.datasets:
                dataset = trainer.datasets[name]
                output = trainer.predict(dataset, metric_key_prefix=prefix)
                self.results |= {key: value for key, value in output.metrics.items() if is_metric(key, value)}
                if saves:
                    errors = self.runs.task.write(staging / f"{name}_predictions", dataset, output.predictions)
                    if errors:
                        self.results.setdefault("errors", {})[name] = errors
        mixes = trainer.accelerator.unwrap_model(trainer.model).elmo
        self.results["mix_weights"] = [[round(one, 6) for one in mix] for mix in mixes.mix_weights().tolist()]
        self.results["mix_scales"] = [round(scale, 6) for scale in mixes.mix_scales().tolist()]
        self.results |= {f"{name}_examples": len(data.examples) for name, data in trainer.datasets.items()}
        self.results["seconds"] = round(time.time() - self.started, 1)
        if saves and "train" in trainer.datasets:
            trainer.state.save_to_json(str(staging / TRAINER_STATE_FILE))
        if saves and self.is_one_of_several:
            if self.model is not None:
                self.model.save_pretrained(staging)
                remove_code_and_card(staging)
            move_into_place(staging, self.folder, stale=RESULT_FILES)
            self.record.finish(self.results)


def expected_time(trainer: TaskTrainer) -> str:
    """Return what training will take, by the time of a forward pass of a batch of medium length."""
    dataset, args = trainer.train_dataset, trainer.args
    middle = len(dataset) // 2
    batch = collate([dataset[n] for n in range(middle, min(middle + args.train_batch_size, len(dataset)))])
    model, was_training = trainer.model, trainer.model.training
    batch = {name: value.to(model.device) for name, value in batch.items()}
    with torch.no_grad():
        model.eval()
        for _ in range(2):  # the first call is slower
            started = time.time()
            model(**batch)
        model.train(was_training)
    batches = math.ceil(len(dataset) / (args.train_batch_size * args.world_size))
    passes = args.num_train_epochs * batches
    if args.max_steps > 0:
        passes = args.max_steps * args.gradient_accumulation_steps
    seconds = 3 * passes * (time.time() - started)  # the backward pass takes about twice the time of the forward pass
    steps = math.ceil(passes / args.gradient_accumulation_steps)
    return f"about {duration(seconds)} for {steps:,} steps on {args.device.type}, evaluations not included"


def duration(seconds: float) -> str:
    """Return a time in words, rounded because it is an estimate."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def is_metric(name: str, value: float) -> bool:
    """Return whether a number of an evaluation is a metric and can be written as JSON; timings are none."""
    return name.startswith(("eval_", "test_")) and not name.endswith(TIMINGS) and math.isfinite(value)


def summary(runs: list[dict]) -> dict:
    """Return the runs, and mean and (sample) standard deviation of each metric that all of them have."""
    values = {
        name: [run[name] for run in runs]
        for name in runs[0]
        if is_metric(name, 0) and not name.endswith("_examples") and all(name in run for run in runs)
    }
    return {
        "runs": runs,
        "mean": {name: statistics.fmean(of_runs) for name, of_runs in values.items()},
        "std": {name: statistics.stdev(of_runs) for name, of_runs in values.items()} if len(runs) > 1 else {},
    }


def best_of(runs: list[dict], args: FineTuningArguments) -> dict:
    """Return the run that is best on the validation examples; without such examples, the first one."""
    metric = f"eval_{args.metric_for_best_model}"
    if not all(metric in run for run in runs):
        return runs[0]
    return (max if args.greater_is_better else min)(runs, key=lambda run: run[metric])


def report(results: dict, metric: str | None) -> None:
    """Log the metrics of all runs, and the mixes, in one table; the metric that selects checkpoints is first."""
    means, deviations, runs = results["mean"], results["std"], results["runs"]
    names = list(dict.fromkeys(name.partition("_")[2] for name in means))
    names.sort(key=lambda name: name != metric)
    splits = [split for split in ("eval", "test") if any(name.startswith(f"{split}_") for name in means)]

    def cell(name: str) -> str:
        deviation = f" ± {deviations[name]:.4f}" if name in deviations else ""
        return f"{means[name]:.4f}{deviation}" if name in means else ""

    rows = [[name, *(cell(f"{split}_{name}") for split in splits)] for name in names]
    title = f"results, mean ± standard deviation of {len(runs)} runs" if len(runs) > 1 else "results"
    header = ["", *({"eval": "validation", "test": "test"}[split] for split in splits)]
    tables = [Table(title, header, rows)] if rows else []
    mixes = [[f"mix {number}"] for number in range(len(runs[0]["mix_weights"]))]
    for number, row in enumerate(mixes):
        for layer in zip(*(run["mix_weights"][number] for run in runs)):
            deviation = f" ± {statistics.stdev(layer):.3f}" if len(layer) > 1 else ""
            row.append(f"{statistics.fmean(layer):.3f}{deviation}")
        row.append(f"{statistics.fmean(run['mix_scales'][number] for run in runs):.3f}")
    layers = [f"layer {layer}" for layer in range(len(runs[0]["mix_weights"][0]))]
    tables.append(Table("weights of the layers (0: characters), and scale", ["", *layers, "scale"], mixes))
    logger.info("\n%s\n", "\n\n".join(table.text() for table in tables))
