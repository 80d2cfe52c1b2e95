"""The configuration that a run starts from: that of a model or of the original, with changes."""

import json
from collections.abc import Collection

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from ..loading import loading
from ..model.configuration_elmo import ElmoConfig


def read_config(
    name: str | None, overrides: str | None = None, is_trained: bool = False, fixed: Collection[str] = (), **options
) -> ElmoConfig:
    """Return the configuration of a model, or of the original.

    Args:
        name: Folder or repository of a model, or a configuration file; None for the original.
        overrides: Changes, as JSON.
        is_trained: Whether the encoder is to be trained, which a quantized one cannot be.
        fixed: Fields that `overrides` must not change.
        options: Further changes, over which `overrides` takes precedence.

    Raises:
        `ValueError`: if there is no such model, if it is not an ELMo or cannot be trained, or if changes are not JSON,
            name unknown fields or have invalid values.
    """
    try:
        changes = {} if overrides is None else json.loads(overrides)
    except json.JSONDecodeError as error:
        raise ValueError(f"--config_overrides must be JSON, but is {overrides!r} ({error})") from None
    if not isinstance(changes, dict):
        raise ValueError(f"""--config_overrides must be an object, '{{"cell_size": 64}}', but is {overrides!r}""")
    known = ElmoConfig().to_dict()
    if unknown := [key for key in changes if key not in known]:
        raise ValueError(f"--config_overrides: the configuration has no {', '.join(unknown)}")
    if given := next((name for name in fixed if name in changes), None):
        raise ValueError(f"--config_overrides: {given} follows from the data and the other options: leave it out")
    changes = {**options, **changes}
    try:
        if name is None:
            config = ElmoConfig(**changes)
        else:
            with loading(name):
                config = AutoConfig.from_pretrained(name, **changes)
        config.validate()  # `from_pretrained` does not validate after its changes
    except StrictDataclassError as error:
        raise ValueError(f"the configuration: {error.__cause__ or error}") from None
    if config.model_type != ElmoConfig.model_type:
        raise ValueError(f"{name} is a model of type {config.model_type}, not {ElmoConfig.model_type}")
    if is_trained and getattr(config, "quantization_config", None):
        raise ValueError(
            f"{name}: the encoder is quantized, and cannot be trained: give --freeze_encoder True (and no "
            "--random_encoder), or the model before it was quantized"
        )
    return config
