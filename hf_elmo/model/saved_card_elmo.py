# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The card of a saved or pushed model: what it inherits from another card, and a mixin that writes it.

A card that a person wrote is never overwritten.
"""

import re
from pathlib import Path
from typing import TypeVar

import yaml
from huggingface_hub import ModelCard, hf_hub_download
from torch import nn
from transformers.utils import PushToHubMixin

from .configuration_elmo import ElmoConfig
from .model_card_elmo import CARD, CLASSES, ORIGIN, TOKENIZATION, UNRECORDED, model_card
from .saved_folder_elmo import check_is_saved

# A card with one of these lines was filled by this file, or from transformers' template, and may be replaced.
AUTOMATIC = "<!-- This card was filled automatically. Remove this line, and what you write here is kept. -->"
TEMPLATE = "that has been pushed on the Hub. This model card has been automatically generated."
SavedModel = TypeVar("SavedModel", bound="ModelCardMixin")


class ModelCardMixin(PushToHubMixin):
    """Mixin for models, before `PreTrainedModel`: `save_pretrained` and `push_to_hub` also write a card."""

    trained_from: str | None = None  # folder or repository whose weights these are, or were before training
    loaded_weights: list[float] | None = None  # a sample of them, to see whether they were changed

    @classmethod
    def from_pretrained(
        cls: type[SavedModel], pretrained_model_name_or_path: str | Path | None, *args, **kwargs
    ) -> SavedModel:
        if kwargs.get("config") is None:
            check_is_saved(pretrained_model_name_or_path, kwargs.get("subfolder"))
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.trained_from = pretrained_model_name_or_path and str(pretrained_model_name_or_path)
        model.loaded_weights = sample_of_weights(model)
        return loaded

    def save_pretrained(
        self, save_directory: str | Path, is_main_process: bool = True, *args, push_to_hub: bool = False, **kwargs
    ):
        """Save as any model of transformers, with code and a card; a card that a person wrote there is kept."""
        keys = ("repo_id", "commit_message", "private", "create_pr")
        for_hub = {key: kwargs.pop(key) for key in keys if key in kwargs}
        name = Path(save_directory).resolve().name
        card = self.card(name)  # before saving, which sets `config.architectures`
        super().save_pretrained(save_directory, is_main_process, *args, **kwargs)
        if is_main_process and may_replace(read_card(save_directory)):
            card.save(Path(save_directory) / CARD)
        if is_main_process and push_to_hub:
            self.push_to_hub(for_hub.pop("repo_id", name), token=kwargs.get("token"), **for_hub)

    def _upload_modified_files(self, working_dir: str | Path, repo_id: str, *args, **kwargs):
        # Called by `push_to_hub` once the folder holds the repository's card or, if there is none, a template.
        present = read_card(working_dir)
        if may_replace(present):
            card = self.card(repo_id, online=True)
            tags = [*card.data["tags"], *((present and present.data.get("tags")) or [])]
            card.data["tags"] = list(dict.fromkeys(tags))
            card.save(Path(working_dir) / CARD)
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)

    def config_of_card(self) -> ElmoConfig:
        """Return the configuration that the card describes."""
        return self.config

    def card(self, name: str, online: bool = False, **facts) -> ModelCard:
        """Fill the model's card from its configuration and from the card of the model it was loaded from.

        Args:
            name: Its name on the Hub, or its folder's.
            online: Whether that other card may be fetched.
            facts: Further arguments of `model_card`; they override what that card says.
        """
        architecture = next(parent.__name__ for parent in type(self).__mro__ if parent.__name__ in CLASSES)
        facts = {key: fact for key, fact in facts.items() if fact is not None}
        if self.trained_from is not None:
            changed = sample_of_weights(self) != self.loaded_weights
            is_folder = Path(self.trained_from).exists()
            source = read_card(self.trained_from) if is_folder else fetch_card(self.trained_from, online)
            if source and not source.data.to_dict():
                source = None  # notes, which were not meant as a card
            if source and not changed and not facts and self.config.architectures == [architecture]:
                return renamed(source, name)
            known_as = Path(self.trained_from).resolve().name if is_folder else self.trained_from
            facts = {**inherited_facts(source, known_as, changed), **facts}
            if not is_folder and "/" in self.trained_from:
                facts.setdefault("base_model", self.trained_from)
        card = model_card(name, self.config_of_card(), architecture, num_parameters=self.num_parameters(), **facts)
        card.text = f"{card.text.rstrip()}\n\n{AUTOMATIC}\n"
        return card


def sample_of_weights(model: nn.Module) -> list[float]:
    """Return up to 64 numbers of each parameter: autograd's version counters miss the steps of fused optimizers."""
    plain = (
        weight.detach().flatten()
        for weight in model.parameters()
        if type(weight) is nn.Parameter and not weight.is_meta
    )
    return [number for weight in plain for number in weight[:: weight.numel() // 64 + 1].tolist()]


def read_card(folder: str | Path) -> ModelCard | None:
    """Return the card of a folder, if it has one; a card without readable front matter is all text."""
    path = Path(folder) / CARD
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    card = ModelCard("---\n{}\n---\n")
    card.text = text
    try:
        return ModelCard(text, ignore_metadata_errors=True) if text.startswith("---") else card
    except (ValueError, yaml.YAMLError):
        return card


def fetch_card(repository: str, online: bool) -> ModelCard | None:
    """Return the card of a repository, if it has one; offline, only if it was fetched before."""
    try:
        return read_card(Path(hf_hub_download(repository, CARD, local_files_only=not online)).parent)
    except (OSError, ValueError):  # the repository is gone, renamed or private, or there is no network
        return None


def may_replace(card: ModelCard | None) -> bool:
    """Return whether a saved model may replace this card: no person wrote it, and it reports no results."""
    return card is None or (is_automatic(card) and not card.data.get("eval_results"))


def is_automatic(card: ModelCard) -> bool:
    """Return whether no person wrote this card."""
    return AUTOMATIC in card.text or TEMPLATE in card.text


def section(card: ModelCard, title: str) -> str | None:
    """Return the text under a heading of the second level, or None if it says nothing."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", card.text, flags=re.MULTILINE | re.DOTALL)
    text = found and found.group(1).replace(AUTOMATIC, "").strip()
    return None if not text or text.startswith(UNRECORDED) else text


def inherited_facts(card: ModelCard | None, source: str, changed: bool) -> dict:
    """Return the facts for `model_card` that a model inherits from the model whose weights it started from.

    Args:
        card: The card of that model, if it has one.
        source: Its name.
        changed: Whether the weights have changed since.
    """
    origin = f"{'They were made from' if changed else 'They are'} those of `{source}`."
    if card is None:
        return {"origin": origin}
    facts = {key: card.data.get(key) for key in ("license", "license_name", "license_link", "language", "datasets")}
    if before := section(card, ORIGIN):
        origin = f"{origin} Of that model's weights its card says:\n\n{before}"
    return {**facts, "origin": origin, "tokenization": section(card, TOKENIZATION)}


def renamed(card: ModelCard, name: str) -> ModelCard:
    """Return the same card under another name."""
    card = ModelCard(card.content)
    if title := re.search(r"^# (.+)$", card.text, flags=re.MULTILINE):
        card.text = card.text.replace(f"# {title[1]}\n", f"# {name}\n", 1)
        card.text = card.text.replace(f'from_pretrained("{title[1]}"', f'from_pretrained("{name}"')
    if card.data.get("eval_results"):
        card.data["model_name"] = name
    return card
