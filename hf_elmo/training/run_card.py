"""The card of a trained model, filled with what its runs measured, and the upload of its folder to the Hub."""

import shlex
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, HfApi
from transformers.trainer_utils import SchedulerType

from ..hub import hub_errors, keep_written_card
from ..model.model_card_elmo import CARD, ModelCardMixin, table
from .arguments import DataArguments, FineTuningArguments, ModelArguments
from .language_model.arguments import PretrainingArguments
from .run_plots import drawn, pictures

NOT_UPLOADED = ["checkpoint-*", "seed-*", "run.json", "_*"]  # what runs leave beside the model


def save_card(
    model: ModelCardMixin,
    folder: Path,
    args: FineTuningArguments | PretrainingArguments,
    repository: str | None,
    command: list[str],
    training: str,
    **facts: Any,
) -> None:
    """Write the card of a trained model beside it, unless somebody wrote one in the output folder or the repository.

    Args:
        folder: Where the model and its plots lie.
        repository: Where it will be pushed, if it will.
        training: What the card says of the training after the command. Markdown.
        facts: Further arguments of `model_card`.
    """
    (folder / CARD).unlink(missing_ok=True)  # the one that saving the model writes
    if keep_written_card(Path(args.output_dir), repository, args.hub_token):
        return
    line = shlex.join(command)
    line = line.replace(args.hub_token, "TOKEN") if args.hub_token else line
    card = model.card(
        repository or Path(args.output_dir).resolve().name,
        online=repository is not None,
        training="\n\n".join(filter(None, [f"```sh\n{line}\n```", training, pictures(drawn(folder))])),
        license=args.license,
        language=args.language,
        **facts,
    )
    card.save(folder / CARD)


def measured(task: str, data: DataArguments, results: dict, best: dict) -> list[EvalResult]:
    """Return the metrics of the best run for the front matter of a card."""
    return [
        EvalResult(
            task_type=task,
            dataset_type=data.dataset_name or "local",
            dataset_name=data.dataset_name or Path(getattr(data, f"{split}_file")).name,
            dataset_config=data.dataset_config_name,
            dataset_split=split,
            metric_type=name.removeprefix(f"{prefix}_"),
            metric_value=value,
        )
        for prefix, split in (("eval", "validation"), ("test", "test"))
        for name, value in best.items()
        if name.startswith(f"{prefix}_") and name in results["mean"]
    ]


def training_section(model_args: ModelArguments, args: FineTuningArguments, results: dict, best: dict) -> str:
    """Return settings, means and deviations of the runs, and the learned mixes of the best one, as Markdown."""
    runs = results["runs"]
    encoder = "random and never trained" if model_args.random_encoder else f"of `{model_args.model_name_or_path}`"
    if model_args.random_encoder and not model_args.freeze_encoder:
        encoder = "random at first, trained with the rest"
    elif not model_args.random_encoder:
        encoder += ", frozen" if model_args.freeze_encoder else ", trained with the rest"
    limit = f"{args.max_steps} steps" if args.max_steps > 0 else f"{args.num_train_epochs:g} epochs"
    batch_size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    schedule = SchedulerType(args.lr_scheduler_type).value
    selected = (
        f"; the weights are those of step {best['best_step']}, the best by the validation examples"
        if best["best_step"] and args.load_best_model_at_end
        else ""
    )
    facts = [
        f"{best['train_examples']:,} examples; the encoder is {encoder}; the mix of its layers: {model_args.mix}",
        f"{args.optim.value}, learning rate {args.learning_rate:g} ({schedule}), batches of "
        f"{batch_size}, at most {limit}, gradient norm at most {args.max_grad_norm:g}, seed {best['seed']}",
        f"{best['steps']} steps{selected}",
    ]
    weights = [
        (f"mix {number}", f"{scale:.3f}", *(f"{weight:.3f}" for weight in mix))
        for number, (mix, scale) in enumerate(zip(best["mix_weights"], best["mix_scales"]))
    ]
    layers = [f"layer {layer}" for layer in range(len(best["mix_weights"][0]))]
    sections = [
        "\n".join(f"- {fact}" for fact in facts),
        "The normalized weight of each layer of the encoder (0: characters), and the scale:\n\n"
        + table(("", "scale", *layers), weights),
    ]
    if len(runs) > 1:
        rows = [
            (name, f"{mean:.4f}", f"{results['std'][name]:.4f}", *(f"{run[name]:.4f}" for run in runs))
            for name, mean in results["mean"].items()
        ]
        header = ("metric", "mean", "standard deviation", *(f"seed {run['seed']}" for run in runs))
        sections.append(
            f"The model is the best of {len(runs)} runs by the validation examples:\n\n" + table(header, rows)
        )
    return "\n\n".join(sections)


def repository_name(args: FineTuningArguments) -> str:
    """Return the name of the repository to push to, which is made if need be."""
    name = args.hub_model_id or Path(args.output_dir).resolve().name
    with hub_errors(name):
        return HfApi().create_repo(name, private=args.hub_private_repo, token=args.hub_token, exist_ok=True).repo_id


def publish(args: FineTuningArguments) -> None:
    """Upload the output folder, without runs and checkpoints, in one commit."""
    name = repository_name(args)
    with hub_errors(name):
        HfApi().upload_folder(
            repo_id=name,
            folder_path=args.output_dir,
            token=args.hub_token,
            revision=args.hub_revision,
            commit_message="End of training",
            ignore_patterns=NOT_UPLOADED,
        )
