"""The runs of a command, one for each seed, from the first check to the folder that can be uploaded.

A single run has the output folder to itself. Of several (`--seeds 1 2 3`), each has a folder `seed-N` in it, and in
the end the output folder holds the best of them by the validation examples. Files get their final names when all of
them are complete, and a run is recorded as ended after that, so that the same command resumes whatever was interrupted.
"""

import copy
import json
import logging
import math
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from transformers.trainer_utils import IntervalStrategy

from ..hub import remove_code_and_card
from ..model.task_model_elmo import ElmoTaskModel
from ..tables import Table
from .arguments import DataArguments, FineTuningArguments, ModelArguments
from .batches import collate
from .checkpoints import STAGING_FOLDER, TRAINER_STATE_FILE, checkpoint_to_resume, move_into_place, remove_checkpoints
from .checks import check_optimizer
from .data.splits import Splits
from .encoder_cache import EncoderCache
from .run_card import publish, repository_name, run_card
from .run_plots import draw_run, drawn
from .run_record import PLOTS, RunRecord, configuration_digest, digest, settings_of, tokenizer_digest
from .script import RESULTS_FILE
from .starting_model import StartingModel
from .trainer import TaskTrainer

logger = logging.getLogger("hf_elmo.training")

# Removed before those of a new run are moved in.
RESULT_FILES = ("*.safetensors", "*_predictions*", "*_results.json", *PLOTS)
ENDED = "%s: this run has ended before, and its results are kept; --overwrite_output_dir True starts it again"
TIMINGS = ("_runtime", "_samples_per_second", "_steps_per_second", "_model_preparation_time")


class Runs:
    """All runs of a command. Iterating gives those that are not finished; [`finish`] makes the output folder complete.

    Args:
        command: For the model card.
        splits: The data, which identify the runs together with the settings and the starting model.
        start: The model that every run begins with.

    Raises:
        `ValueError`: if the output folder belongs to other runs, or something that training needs is missing.
    """

    def __init__(
        self,
        command: list[str],
        data: DataArguments,
        model_args: ModelArguments,
        args: FineTuningArguments,
        splits: Splits,
        start: StartingModel,
    ):
        self.command, self.data, self.model_args, self.args, self.start = command, data, model_args, args, start
        self.folder, self.seeds, self.started = Path(args.output_dir), args.seeds or [args.seed], time.time()
        self.is_validated, self.results = splits.validation is not None, []
        self.last: Run | None = None
        logger.info("%s", splits.describe())
        model = start.create(seed=0)
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        logger.info("%-13s%s, %s of them trained", "parameters:", f"{model.num_parameters():,}", f"{trained:,}")
        check_optimizer(args, model)
        settings = settings_of(data, model_args, args)
        del settings["--seed"]
        self.identity = settings | {
            "labels": list(start.config.id2label.values()) if splits.label_names else None,
            "data": f"sha256:{splits.digest()}",
            "configuration": configuration_digest(start.config),
            "tokenizer": tokenizer_digest(start.tokenizer),
            "starting model": digest(part for weight in model.state_dict().items() for part in weight),
        }
        self.record = RunRecord(self.folder, self.identity | ({} if args.seeds else {"--seed": args.seed}))
        with args.main_process_first(desc="the record of the run"):
            self.has_ended = self.is_complete()
            if not self.has_ended:
                if args.push_to_hub and args.should_save:
                    repository_name(args)  # refused now rather than after training
                self.record.claim(args.overwrite_output_dir)
        self.cache = EncoderCache(args.cache_dir)

    def is_complete(self) -> bool:
        """Return whether these very runs have ended before."""
        if self.args.overwrite_output_dir or not self.record.has_ended():
            return False
        if [run["seed"] for run in self.record.read()["results"]["runs"]] != self.seeds:
            return False
        logger.info(ENDED, self.folder)
        self.clean_up()
        return True

    def __enter__(self) -> "Runs":
        self.cache.__enter__()
        return self

    def __exit__(self, *exception: object):
        self.cache.__exit__(*exception)

    def __iter__(self) -> Iterator["Run"]:
        for seed in [] if self.has_ended else self.seeds:
            run = Run(self, seed)
            if run.is_one_of_several:
                with self.args.main_process_first(desc="the record of the run"):
                    ended = run.record.has_ended()
                    if not ended:
                        run.record.claim()
                if ended:
                    logger.info(ENDED, run.folder)
                    self.results.append(run.record.read()["results"])
                    continue
            yield run
            self.results.append(run.results)
            self.last = run

    def finish(self) -> None:
        """Make the output folder complete: model, tokenizer, card, predictions and results; then push it."""
        if self.has_ended or not self.args.should_save:
            return
        results = {
            **summary(self.results),
            "best_seed": best_of(self.results, self.args)["seed"],
            "seconds": round(time.time() - self.started, 1),
            "seconds_computing_layers": round(self.cache.seconds, 1),
        }
        report(results, self.args.metric_for_best_model)
        staging = self.folder / STAGING_FOLDER
        if self.args.seeds:
            best = self.folder / f"seed-{results['best_seed']}"
            empty(staging)
            for path in [*best.glob("*_predictions*"), *best.glob(TRAINER_STATE_FILE)]:
                shutil.copy2(path, staging)
            model = self.start.head.from_pretrained(best) if list(best.glob("*.safetensors")) else None
        else:
            model = self.last.model
        if self.args.plots:
            names = (
                {f"seed {seed}": self.folder / f"seed-{seed}" for seed in self.seeds}
                if self.args.seeds
                else {"": staging}
            )
            states = {name: folder / TRAINER_STATE_FILE for name, folder in names.items()}
            draw_run(staging, results, states, self.args.metric_for_best_model)
        if model is not None:
            self.save(model, staging, results)
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

    def save(self, model: ElmoTaskModel, folder: Path, results: dict) -> None:
        """Save the trained model with its tokenizer and code, and the card, unless somebody wrote one."""
        model.save_pretrained(folder)
        self.start.save_tokenizers(folder)
        (folder / "README.md").unlink(missing_ok=True)
        card = run_card(model, self.command, self.data, self.model_args, self.args, results, drawn(folder))
        if card is not None:
            card.save(folder / "README.md")


class Run:
    """One run: its arguments, folder and results."""

    def __init__(self, runs: Runs, seed: int):
        self.runs, self.seed, self.started = runs, seed, time.time()
        self.is_one_of_several = bool(runs.args.seeds)
        self.folder = runs.folder / f"seed-{seed}" if self.is_one_of_several else runs.folder
        self.staging = self.folder / STAGING_FOLDER
        self.record = RunRecord(self.folder, runs.identity | {"--seed": seed})
        self.args = copy.copy(runs.args)
        self.args.output_dir, self.args.seed, self.args.push_to_hub = str(self.folder), seed, False
        if not runs.is_validated:
            self.args.eval_strategy, self.args.load_best_model_at_end = IntervalStrategy.NO, False
        self.results: dict = {"seed": seed}
        self.model: ElmoTaskModel | None = None  # trained

    def train(self, trainer: TaskTrainer) -> None:
        """Compute the layers of a frozen encoder, and train, from the last checkpoint if there is one."""
        model = trainer.model
        if self.runs.model_args.freeze_encoder and self.args.cache_encoder_outputs:
            for dataset in trainer.datasets.values():
                self.runs.cache.fill(model, dataset)
        if "train" in trainer.datasets:
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
            self.results |= {"steps": trainer.state.global_step, "best_step": trainer.state.best_global_step}
            self.model = trainer.accelerator.unwrap_model(trainer.model)

    def evaluate(self, trainer: TaskTrainer, write: Callable) -> None:
        """Score validation and test examples, and write predictions.

        Args:
            write: Called with the path of a file without its suffix, the dataset and its predictions; it may return
                what was predicted wrongly, as `errors` counts it.
        """
        if self.args.should_save:
            empty(self.staging)
        for name, prefix in (("validation", "eval"), ("test", "test")):
            if name in trainer.datasets:
                output = trainer.predict(trainer.datasets[name], metric_key_prefix=prefix)
                self.results |= {key: value for key, value in output.metrics.items() if is_metric(key, value)}
                if self.args.should_save:
                    errors = write(self.staging / f"{name}_predictions", trainer.datasets[name], output.predictions)
                    if errors:
                        self.results.setdefault("errors", {})[name] = errors
        mixes = trainer.accelerator.unwrap_model(trainer.model).elmo
        self.results["mix_weights"] = [[round(one, 6) for one in mix] for mix in mixes.mix_weights().tolist()]
        self.results["mix_scales"] = [round(scale, 6) for scale in mixes.mix_scales().tolist()]
        self.results |= {f"{name}_examples": len(data.examples) for name, data in trainer.datasets.items()}
        self.results["seconds"] = round(time.time() - self.started, 1)
        if self.args.should_save and "train" in trainer.datasets:
            trainer.state.save_to_json(str(self.staging / TRAINER_STATE_FILE))
        if self.args.should_save and self.is_one_of_several:
            if self.model is not None:
                self.model.save_pretrained(self.staging)
                remove_code_and_card(self.staging)
            move_into_place(self.staging, self.folder, stale=RESULT_FILES)
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


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def empty(folder: Path) -> None:
    """Make a folder, or remove what an interrupted run left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
