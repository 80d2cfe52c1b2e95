"""What the scripts that train a task do alike: read, encode, train with each seed, score, report, save, push.

    python -m hf_elmo.training.<task> [settings.json] --model_name_or_path FOLDER --train_file FILE --output_dir FOLDER

One run lies in the output folder as every Trainer's does. Several runs, `--seeds 1 2 3`, have folders of their own in
it, and the best of them, by the validation examples, is what the output folder itself holds. The same command goes on
where an interrupted one was, run by run and checkpoint by checkpoint.
"""

import copy
import json
import logging
import shutil
import statistics
import sys
import time
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedTokenizerBase, set_seed
from transformers.trainer_utils import IntervalStrategy
from transformers.utils import logging as transformers_logging

from ..model.configuration_elmo import ElmoConfig
from ..model.task_model_elmo import ElmoTaskModel
from .arguments import DataArguments, FineTuningArguments, ModelArguments
from .checkpoints import last_checkpoint
from .configs import check_can_be_trained, read_config
from .data_sets import read_splits, sampled
from .encoded import Split
from .encoder_cache import EncoderCache
from .fine_tuner import FineTuner, is_measure, mixes_of, set_mixes
from .run_card import publish, write_card
from .script import ArgumentParser
from .task import Task
from .word_vectors import VectorTable, read_word_vectors, words_of

logger = logging.getLogger("hf_elmo.training")

RUN_FILE, RESULTS_FILE = "run_results.json", "all_results.json"
# Of a run's settings, those on which its results do not depend.
WITHOUT_EFFECT = {"seeds", "output_dir", "cache_dir", "logging_dir", "run_name", "license", "language", "disable_tqdm"}


def main(task_class: type[Task], arguments: list[str] | None = None) -> int:
    """Run a script. Returns the exit code: 0, or 2 for something to correct."""
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        parser = ArgumentParser(
            (task_class.data_arguments, ModelArguments, task_class.run_arguments),
            prog=f"python -m hf_elmo.training.{task_class.name}",
            description=task_class.__doc__,
            allow_abbrev=False,
        )
        parser.set_defaults(metric_for_best_model=task_class.metric)
        data, model_args, args = parser.parse(arguments)
        run(task_class(data), model_args, args, arguments)
    except (ValueError, OSError, SafetensorError) as error:
        print(f"{task_class.name}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def run(task: Task, model_args: ModelArguments, args: FineTuningArguments, arguments: list[str]) -> dict:
    """All runs of a command, and what comes after them. Returns the results as they are written.

    Args:
        task, model_args, args: What `arguments` say.
        arguments (`list[str]`): For the model's card.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO if args.should_log else logging.WARNING)
    check_arguments(model_args, args)
    started = time.time()
    examples = read_splits(task)
    config = starting_config(task, model_args, examples.get("train"))
    if args.metric_for_best_model == type(task).metric:
        args.metric_for_best_model = task.metric
    for name, split in examples.items():
        task.check(split, name)
    tokenizer = AutoTokenizer.from_pretrained(model_args.model_name_or_path)
    splits = {name: task.encode(split, tokenizer, name) for name, split in examples.items()}
    start = StartingPoint(task, model_args, config, tokenizer, word_vectors(model_args, config, tokenizer, splits))

    seeds = args.seeds or [args.seed]
    folders = {seed: Path(args.output_dir, f"seed-{seed}" if args.seeds else "") for seed in seeds}
    with EncoderCache(args.cache_dir) as cache:
        runs = []
        for seed, folder in folders.items():
            args_of_run = arguments_of_run(args, folder, seed, "validation" in splits)
            part = sampled(examples.get("train"), task.data.train_fraction, seed)
            if part is not examples.get("train"):
                splits["train"] = task.encode(part, tokenizer, "train")
            runs.append(one_run(start, args_of_run, splits, cache))
    results = {
        **summary(runs),
        "best_seed": best_of(runs, args)["seed"],
        "seconds": round(time.time() - started, 1),
        "seconds_computing_layers": round(cache.seconds, 1),
    }
    if not args.should_save:
        return results
    report(results)
    folder = folders[results["best_seed"]]
    if args.seeds:
        for path in folder.iterdir():
            if path.is_file() and path.name != RUN_FILE:
                shutil.copy2(path, args.output_dir)
    Path(args.output_dir, RESULTS_FILE).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if "train" in splits:
        write_card(task, model_args, args, arguments, results)
        if args.push_to_hub:
            publish(args)
    return results


def check_arguments(model_args: ModelArguments, args: FineTuningArguments):
    if not args.output_dir:
        raise ValueError("--output_dir is missing: the folder for checkpoints, results and the trained model")
    if model_args.model_name_or_path is None:
        raise ValueError("--model_name_or_path is missing: a pretrained encoder, or a model trained for the task")
    if args.seeds and args.resume_from_checkpoint:
        raise ValueError("--resume_from_checkpoint is of one run: give it without --seeds, which resumes by itself")
    if args.push_to_hub and args.hub_strategy != "end":
        raise ValueError(f"--hub_strategy {args.hub_strategy.value}: these scripts push once, at the end")
    if args.n_gpu > 1:
        raise ValueError(
            f"{args.n_gpu} GPUs are visible to one process: start with `torchrun --nproc-per-node {args.n_gpu}`, "
            "or let it see one, CUDA_VISIBLE_DEVICES=0"
        )


def starting_config(task: Task, model_args: ModelArguments, train: list | None) -> ElmoConfig:
    """The configuration of the model to train: the task's labels are known to it and to the task from now on."""
    config = read_config(model_args.model_name_or_path)
    is_trained = task.head.__name__ in (config.architectures or ())
    if train is None and not is_trained:
        raise ValueError(
            f"{model_args.model_name_or_path} is no {task.head.__name__}, which could label without learning: "
            "give examples to learn from, --train_file or --dataset_name"
        )
    known = list(config.id2label.values()) if is_trained else []
    names = known if train is None else task.label_names(train)
    if names is not None and set(names) <= set(known):
        names = known
    task.use_labels(names)
    options = {"word_vocab_size": 0, **({} if is_trained else task.model_defaults), **task.config_options()}
    config = read_config(model_args.model_name_or_path, model_args.config_overrides, **options)
    trained = model_args.random_encoder or not model_args.freeze_encoder
    check_can_be_trained(config, model_args.model_name_or_path, trained)
    if names is not None:
        config.id2label, config.label2id = dict(enumerate(names)), {name: n for n, name in enumerate(names)}
    return config


def word_vectors(
    model_args: ModelArguments, config: ElmoConfig, tokenizer: PreTrainedTokenizerBase, splits: dict[str, Split]
) -> VectorTable | None:
    """The static vectors that were asked for; the configuration is told of their number and size."""
    if model_args.word_vectors is None:
        return None
    lowercase = config.word_vector_lowercase and bool(config.char_cnn_filters)
    wanted = None if model_args.all_word_vectors else words_of(splits.values(), lowercase)
    table = read_word_vectors(model_args.word_vectors, tokenizer, lowercase, wanted)
    config.word_vector_count, config.word_vector_size = table.vectors.shape
    return table


class StartingPoint:
    """The model that every run begins with: the same encoder (or a random one), new task layers by the run's seed."""

    def __init__(
        self,
        task: Task,
        model_args: ModelArguments,
        config: ElmoConfig,
        tokenizer: PreTrainedTokenizerBase,
        vectors: VectorTable | None,
    ):
        self.task, self.model_args, self.config, self.tokenizer = task, model_args, config, tokenizer
        self.vectors = vectors

    def model(self, seed: int) -> ElmoTaskModel:
        set_seed(seed)
        config, head = copy.deepcopy(self.config), self.task.head
        if self.model_args.random_encoder:
            model = head(config)
        else:
            model = load(head, self.model_args.model_name_or_path, config)
        if self.vectors is not None:
            model.word_vectors.fill(*self.vectors)
        set_mixes(model, self.model_args.mix)
        if self.model_args.freeze_encoder:
            model.elmo.freeze_encoder()
        return model


def load(head: type[ElmoTaskModel], name: str, config: ElmoConfig) -> ElmoTaskModel:
    """A model whose encoder is that of `name`, and whose task layers are new where `name` has none that fit.

    Raises:
        `ValueError`: if the encoder does not fit the configuration.
    """
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # that an encoder has no task layers needs no warning
    try:
        model, found = head.from_pretrained(
            name, config=config, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True
        )
    finally:
        transformers_logging.set_verbosity(verbosity)
    lacking = [*found["missing_keys"], *(mismatch[0] for mismatch in found["mismatched_keys"])]
    lacking = sorted(key for key in lacking if key.startswith("elmo.") and "scalar_mixes" not in key)
    if lacking:
        raise ValueError(
            f"{name}: its weights do not fit the configuration ({lacking[0]} and {len(lacking) - 1} others): "
            "--config_overrides is for the task's layers, not for sizes of the encoder"
        )
    return model


def arguments_of_run(args: FineTuningArguments, folder: Path, seed: int, validated: bool) -> FineTuningArguments:
    args = copy.copy(args)
    args.output_dir, args.seed, args.push_to_hub = str(folder), seed, False  # one push, after all runs
    if not validated:
        args.eval_strategy, args.load_best_model_at_end = IntervalStrategy.NO, False
    return args


# ---- One run


def one_run(start: StartingPoint, args: FineTuningArguments, splits: dict[str, Split], cache: EncoderCache) -> dict:
    """Train with one seed, score and write predictions. Returns what there is to report; at once if it is there."""
    settings = settings_of_run(start, args)
    record_file = Path(args.output_dir, RUN_FILE)
    if record_file.is_file() and not args.resume_from_checkpoint:
        record = json.loads(record_file.read_text(encoding="utf-8"))
        if record["settings"] == settings:
            logger.info("%s: this run came to its end before, and its results are kept", args.output_dir)
            return record["results"]
    started = time.time()
    model = start.model(args.seed).to(args.device)
    if start.model_args.freeze_encoder and args.cache_encoder_outputs:
        for split in splits.values():
            cache.fill(model, split)
    trainer = FineTuner(start.task, model, args, splits.get("train"), splits.get("validation"), start.tokenizer)
    results = {"seed": args.seed}
    if "train" in splits:
        checkpoint = args.resume_from_checkpoint or last_checkpoint(args.output_dir)
        if checkpoint is not None:
            logger.info("Resuming from %s", checkpoint)
        metrics = trainer.train(checkpoint).metrics
        trainer.save_model()
        trainer.save_state()
        results |= {name: metrics[name] for name in ("train_loss", "train_runtime")}
        results |= {"steps": trainer.state.global_step, "best_step": trainer.state.best_global_step}
    for name, prefix in (("validation", "eval"), ("test", "test")):
        if name in splits:
            output = trainer.predict(splits[name], metric_key_prefix=prefix)
            results |= {key: value for key, value in output.metrics.items() if is_measure(key)}
            if args.should_save:
                start.task.write(splits[name], output.predictions, Path(args.output_dir), name)
    results |= mixes_of(model)
    results |= {f"{name}_examples": len(split.examples) for name, split in splits.items()}
    results["seconds"] = round(time.time() - started, 1)
    if args.should_save:
        record = {"settings": settings, "results": results}
        record_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return results


def settings_of_run(start: StartingPoint, args: FineTuningArguments) -> dict:
    """All that was said, as JSON has it: a run with the same settings has the same results."""
    said = {**vars(start.task.data), **vars(start.model_args), **args.to_dict()}
    return json.loads(
        json.dumps({name: value for name, value in said.items() if name not in WITHOUT_EFFECT}, default=str)
    )


# ---- All runs


def summary(runs: list[dict]) -> dict:
    """The runs, and over them mean and (sample) standard deviation of each measure."""
    values = {
        name: [run[name] for run in runs] for name in runs[0] if is_measure(name) and not name.endswith("_examples")
    }
    return {
        "runs": runs,
        "mean": {name: statistics.fmean(of_runs) for name, of_runs in values.items()},
        "std": {name: statistics.stdev(of_runs) for name, of_runs in values.items()} if len(runs) > 1 else {},
    }


def best_of(runs: list[dict], args: FineTuningArguments) -> dict:
    """The run that did best on the validation examples; the first one without such examples."""
    measure = f"eval_{(args.metric_for_best_model or '').removeprefix('eval_')}"
    if measure not in runs[0]:
        return runs[0]
    return (max if args.greater_is_better else min)(runs, key=lambda run: run[measure])


def report(results: dict):
    """Say what was measured."""
    for name, mean in results["mean"].items():
        deviation = f" ± {results['std'][name]:.4f} ({len(results['runs'])} runs)" if results["std"] else ""
        logger.info("%s: %.4f%s", name, mean, deviation)


__all__ = ["DataArguments", "FineTuningArguments", "Task", "main"]
