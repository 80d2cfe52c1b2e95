# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Saved and pushed, a model is complete: weights, code and a card that a stranger can read. Or one line says why not.

The library's own `push_to_hub` and Trainer write a card from a template, over any other. Here a card that somebody
wrote is kept, and where there is none it is filled with what is known.
"""

import inspect
import re
import sys
import tempfile
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

import yaml
from huggingface_hub import EvalResult, HfApi, ModelCard, constants, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from torch import nn

from .model_card_elmo import (
    CLASSES,
    inherited_facts,
    is_automatic,
    model_card,
    parts_card,
    renamed,
    with_automatic_mark,
)

CARD = "README.md"
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
UNCOUNTED = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "eval_model_preparation_time")


class HubError(OSError, ValueError):
    """What kept the Hub from doing what was asked, in one line that says what to do."""


@contextmanager
def hub_errors(repo_id: str):
    """Turn what goes wrong between here and the Hub into a [`HubError`].

    Args:
        repo_id: The repository that the work in this context is about.
    """
    try:
        yield
    except (HfHubHTTPError, HFValidationError, HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled) as error:
        raise HubError(f"{repo_id}: {explain(error)}") from error


def explain(error: Exception) -> str:
    """One line: what the Hub, or the way to it, had against a request, and what to do."""
    reason = " ".join((getattr(error, "server_message", None) or str(error)).split())
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, LocalTokenNotFoundError) or status == 401:
        return (
            f"{constants.ENDPOINT} wants a token that it knows: make one with write permission in your settings there, "
            "then type `hf auth login` or set HF_TOKEN"
        )
    if status == 403:
        return f"the token may not write there ({reason}): use one with write permission for this name"
    if status == 404:
        return f"no such repository on {constants.ENDPOINT}, or it is private and the token may not read it"
    if isinstance(error, OfflineModeIsEnabled):
        return "offline mode is on: unset HF_HUB_OFFLINE"
    if status is None and isinstance(error, HTTPError):
        return f"no connection to {constants.ENDPOINT} ({reason}): check the network, or HF_ENDPOINT"
    return reason


class PushedWithCard:
    """Mixin: a `push_to_hub` that keeps the repository's card, and writes one if there is none."""

    def card(self, name: str, online: bool = False) -> ModelCard:
        """The card of a repository that holds only this."""
        return parts_card(name, self.max_characters_per_token)

    def replaces(self, card: ModelCard) -> bool:
        """Whether what this says of itself is more than what `card` says."""
        return False

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        max_shard_size: int | str | None = "50GB",
        tags: list[str] | str | None = None,
    ):
        """Upload this to the Hub, with its code and a card, in one commit.

        Args:
            repo_id (`str`): Repository, `user/name`; it is made if need be.
            commit_message, commit_description (`str`, *optional*): Of the commit.
            private (`bool`, *optional*): Whether a repository that is made is private.
            token (`str` or `bool`, *optional*): By default the one of `hf auth login` or `HF_TOKEN`.
            revision (`str`, *optional*): Branch to commit to.
            create_pr (`bool`, defaults to `False`): Whether to propose the commit in place of making it.
            max_shard_size (`int` or `str`, defaults to `"50GB"`): Of a file of weights.
            tags (`list[str]`, *optional*): For the card.

        Returns:
            [`~huggingface_hub.CommitInfo`]

        Raises:
            [`HubError`]: a `ValueError` and an `OSError` of one line: no token, no right to write, no network, ...
        """
        with hub_errors(repo_id):
            repo_id = HfApi().create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
            card = published_card(repo_id, token)
            if card is None or self.replaces(card):
                card = self.card(repo_id, online=True)
            tags = [*(card.data.tags or []), *(getattr(self, "model_tags", None) or []), *as_list(tags)]
            card.data.tags = list(dict.fromkeys(tags))
            with tempfile.TemporaryDirectory() as folder:
                self.save_pretrained(folder, max_shard_size=max_shard_size)
                card.save(Path(folder) / CARD)
                return self._upload_modified_files(
                    folder,
                    repo_id,
                    files_timestamps={},
                    commit_message=commit_message,
                    commit_description=commit_description,
                    token=token,
                    create_pr=create_pr,
                    revision=revision,
                )


class ModelWithCard(PushedWithCard):
    """Mixin for models, before `PreTrainedModel`: whatever saves them, a card that is true lies beside the weights."""

    trained_from = None  # the folder or repository whose weights these are, or were before training
    sample_when_loaded = None  # of the weights, by which a change is seen

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.trained_from = pretrained_model_name_or_path and str(pretrained_model_name_or_path)
        model.sample_when_loaded = sample_of_weights(model)
        return loaded

    def save_pretrained(self, save_directory, is_main_process: bool = True, *args, push_to_hub: bool = False, **kwargs):
        """As in [`~transformers.PreTrainedModel`], and a card, unless the folder has one that somebody wrote."""
        name = Path(save_directory).resolve().name
        keys = ("repo_id", "commit_message", "private", "create_pr")
        for_hub = {key: kwargs.pop(key) for key in keys if key in kwargs}
        card = self.card(name)  # before saving, which renames the architecture in the configuration
        super().save_pretrained(save_directory, is_main_process, *args, **kwargs)
        if not is_main_process:
            return
        fill_cards_of_trainers()
        if self.replaces(card_in(save_directory)):
            card.save(Path(save_directory) / CARD)
        if push_to_hub:
            self.push_to_hub(for_hub.pop("repo_id", name), token=kwargs.get("token"), **for_hub)

    def replaces(self, card: ModelCard | None) -> bool:
        return card is None or (is_automatic(card) and not card.data.eval_results)

    def card(self, name: str, online: bool = False, **facts) -> ModelCard:
        """What is known of this model: by its configuration, and by the card of the model that it was loaded from.

        Args:
            name: Its name on the Hub, or the folder's.
            online: Whether that card may be fetched.
            facts: What else is known, as for `model_card`; goes before what that card says.
        """
        architecture = next(parent.__name__ for parent in type(self).__mro__ if parent.__name__ in CLASSES)
        facts = {key: fact for key, fact in facts.items() if fact is not None}
        if self.trained_from is not None:
            source = card_of_source(self.trained_from, online)
            if source is not None and not source.data.to_dict():
                source = None  # notes, which nobody meant for a card
            changed = sample_of_weights(self) != self.sample_when_loaded
            if source is not None and not changed and not facts and self.config.architectures == [architecture]:
                return renamed(source, name)
            local = Path(self.trained_from)
            called = local.resolve().name if local.exists() else self.trained_from
            facts = {**inherited_facts(source, called, changed), **facts}
            if REPOSITORY.fullmatch(self.trained_from) and not local.exists():
                facts.setdefault("base_model", self.trained_from)
        card = model_card(name, self.config, architecture, num_parameters=self.num_parameters(), **facts)
        return with_automatic_mark(card)


def sample_of_weights(model: nn.Module) -> list[float]:
    """Up to 64 numbers of each parameter. (Not the versions that autograd counts: fused optimizers do not tell it.)"""
    plain = [
        weight.detach().flatten()
        for weight in model.parameters()
        if type(weight) is nn.Parameter and not weight.is_meta
    ]
    return [number for weight in plain for number in weight[:: weight.numel() // 64 + 1].tolist()]


def card_in(folder: str | Path) -> ModelCard | None:
    """The card of a folder, if it has one. One that cannot be parsed is text without front matter, and so is kept."""
    path = Path(folder) / CARD
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        return ModelCard(text if text.startswith("---") else f"---\n{{}}\n---\n{text}", ignore_metadata_errors=True)
    except (ValueError, yaml.YAMLError):
        card = ModelCard("---\n{}\n---\n")
        card.text = text
        return card


def published_card(repo_id: str, token: bool | str | None = None) -> ModelCard | None:
    """The card of a repository on the Hub, if it has one."""
    try:
        return ModelCard.load(repo_id, token=token, ignore_metadata_errors=True)
    except EntryNotFoundError:
        return None


def card_of_source(source: str | None, online: bool) -> ModelCard | None:
    """The card of the folder or repository `source`; offline, that of a repository only if it was fetched before."""
    if source is None or Path(source).exists():
        return source and card_in(source)
    try:
        if online:
            return published_card(source)
        cached = try_to_load_from_cache(source, CARD)
        return card_in(Path(cached).parent) if isinstance(cached, str) else None
    except (HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled):
        return None  # not there any more, or never was: then its card is not known


def fill_cards_of_trainers():
    """Let the Trainer, where one is at work, fill a model's own card and not its template.

    It is asked when it is sure to exist, when it saves: importing it only for this would cost every user a second.
    """
    module = sys.modules.get("transformers.trainer")
    if module is None or hasattr(module.Trainer.create_model_card, "of_library"):
        return
    Trainer = module.Trainer
    template, push_checkpoint = Trainer.create_model_card, Trainer._push_from_checkpoint

    @wraps(template)
    def create_model_card(self, *args, **kwargs):
        model = model_with_card(self)
        if model is None:
            template(self, *args, **kwargs)
        elif self.is_world_process_zero() and not keeps_written_card(self):
            given = inspect.signature(template.__get__(self)).bind(*args, **kwargs).arguments
            card_of_run(self, model, given).save(Path(self.args.output_dir) / CARD)

    @wraps(push_checkpoint)
    def _push_from_checkpoint(self, *args, **kwargs):
        if model_with_card(self) is not None and self.is_world_process_zero():
            keeps_written_card(self)  # the folder is uploaded as it is, maybe with the card of an earlier run
        push_checkpoint(self, *args, **kwargs)

    create_model_card.of_library = template
    Trainer.create_model_card, Trainer._push_from_checkpoint = create_model_card, _push_from_checkpoint


def model_with_card(trainer) -> ModelWithCard | None:
    """A Trainer's model, if its card is ours to fill: not that of other models, nor of adapters around one."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    return model if hasattr(type(model), "trained_from") else None


def keeps_written_card(trainer) -> bool:
    """Whether somebody wrote the card of a Trainer's folder or repository, and it is in the folder now."""
    return keep_written_card(Path(trainer.args.output_dir), trainer.hub_model_id, trainer.args.hub_token)


def keep_written_card(folder: Path, repository: str | None, token: bool | str | None = None) -> bool:
    """Whether somebody wrote the card in a folder or its repository. The repository's is put into the folder."""
    card = card_in(folder)
    if card is not None and not is_automatic(card):
        return True
    if repository is None:
        return False
    with hub_errors(repository):
        card = published_card(repository, token)
    if card is None or is_automatic(card):
        return False
    card.save(folder / CARD)
    return True


def card_of_run(trainer, model: ModelWithCard, given: dict) -> ModelCard:
    """The card of what a Trainer trained: what it measured and how it was set, over what was known before.

    Args:
        trainer ([`~transformers.Trainer`]): After training.
        model: Its model.
        given: Arguments of `Trainer.create_model_card`.
    """
    from transformers.modelcard import TrainingSummary, make_markdown_table

    summary = TrainingSummary.from_trainer(trainer, **given)
    evaluated = next((logs for logs in reversed(trainer.state.log_history) if "eval_loss" in logs), {})
    names, identifiers = as_list(summary.dataset), as_list(summary.dataset_tags)
    split = getattr(trainer.eval_dataset, "split", None)
    name = given.get("model_name") or Path(trainer.args.output_dir).resolve().name
    results = [
        EvalResult(
            task_type=CLASSES[type(model).__name__].task,
            dataset_name=names[0] if names else "evaluation data of the run",
            dataset_type=identifiers[0] if identifiers else "local",
            dataset_split=split and str(split),
            metric_type=measure.removeprefix("eval_"),
            metric_value=value,
        )
        for measure, value in evaluated.items()
        if measure.startswith("eval_") and measure not in UNCOUNTED and isinstance(value, (int, float))
    ]
    settings = "\n".join(f"- {setting}: {value}" for setting, value in summary.hyperparameters.items())
    progress = make_markdown_table(summary.eval_lines) if summary.eval_lines else ""
    return model.card(
        trainer.hub_model_id or name,
        online=trainer.hub_model_id is not None,
        training=f"With the Trainer of transformers:\n\n{settings}\n\n{progress}",
        eval_results=results or None,
        license=summary.license,
        language=summary.language,
        base_model=given.get("finetuned_from"),
        datasets=identifiers or None,
        tags=summary.tags,
    )


def as_list(value) -> list:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def travelling_classes() -> tuple[type, ...]:
    """All classes that a folder may be opened with.

    The copier of code follows the text of these lines, from whichever file it starts: so all files travel whatever is
    saved, a tokenizer or a configuration alone too.
    """
    from .language_model_elmo import ElmoForMaskedLM, ElmoForPreTraining
    from .modeling_elmo import ElmoModel
    from .question_answering_elmo import ElmoForQuestionAnswering
    from .sequence_classification_elmo import ElmoForSequenceClassification
    from .token_classification_elmo import ElmoForTokenClassification
    from .tokenization_elmo import ElmoTokenizer

    heads = (ElmoForQuestionAnswering, ElmoForSequenceClassification, ElmoForTokenClassification)
    return (ElmoModel, ElmoTokenizer, ElmoForMaskedLM, ElmoForPreTraining, *heads)


__all__ = ["HubError", "ModelWithCard", "PushedWithCard", "hub_errors"]
