# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The upload of a converted folder."""

from pathlib import Path

from huggingface_hub import HfApi

from hf_elmo.hub import hub_errors


def push(folder: Path, name: str) -> str:
    """Upload a converted folder, model card included, and return its address. A missing repository is created."""
    api = HfApi()
    with hub_errors(name):
        repository = api.create_repo(name, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repository.repo_id, commit_message="Convert the original weights")
    return str(repository)
