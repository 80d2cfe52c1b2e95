"""The Hub, for the package's own commands and Trainers: one-line errors, kept cards, small checkpoints."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from huggingface_hub import ModelCard, constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from transformers import PreTrainedModel

from .model.model_card_elmo import CARD, is_automatic, read_card


class HubError(OSError, ValueError):
    """The Hub, or the way to it, refused a request: one line with the reason and what to do."""


@contextmanager
def hub_errors(repo_id: str) -> Iterator[None]:
    """Turn errors of requests about the repository `repo_id` into a [`HubError`]."""
    try:
        yield
    except (HfHubHTTPError, HFValidationError, HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled) as error:
        raise HubError(f"{repo_id}: {explain(error)}") from error


def explain(error: Exception) -> str:
    """Say in one line why a request to the Hub failed, and what to do."""
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


def keep_written_card(folder: str | Path, repository: str | None = None, token: bool | str | None = None) -> bool:
    """Return whether a person wrote the card of a folder or of its repository; copy the repository's into the folder.

    Args:
        folder: Where the card of a run is about to be written.
        repository: Where the folder will be pushed, if it will.
        token: Token for the Hub.
    """
    card = read_card(folder)
    if card is not None and not is_automatic(card):
        return True
    if repository is None:
        return False
    with hub_errors(repository):
        try:
            card = ModelCard.load(repository, token=cast(str, token), ignore_metadata_errors=True)
        except EntryNotFoundError:
            return False
    if is_automatic(card):
        return False
    card.save(Path(folder) / CARD)
    return True


@contextmanager
def saved_without_code(model: PreTrainedModel) -> Iterator[None]:
    """Let a model be saved without its code, whose copies take longer than the weights of a small model."""
    kind, config = type(model), model.config
    registered = getattr(kind, "_auto_class", None)
    if registered is None:  # another library's class, which is saved without code anyway
        yield
        return
    kind._auto_class = config._auto_class = None
    try:
        yield
    finally:
        kind._auto_class = registered
        del config._auto_class


def remove_code_and_card(folder: str | Path):
    """Remove the code and the automatic card that `save_pretrained` put into a checkpoint.

    For the `_save` of a Trainer: checkpoints are resumed by the installed package, and need neither. The folder of the
    finished model keeps both.
    """
    for path in Path(folder).glob("*_elmo*.py"):
        path.unlink()
    card = read_card(folder)
    if card is not None and is_automatic(card):
        (Path(folder) / CARD).unlink()


__all__ = ["HubError", "hub_errors", "keep_written_card", "remove_code_and_card", "saved_without_code"]
