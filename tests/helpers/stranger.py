"""Opens saved models as a stranger does: with transformers, and without this package. Tests run it in a fresh process.

    python stranger.py RESULTS SAVED [SAVED ...] [--with-package] [--every COUNT]

The first COUNT folders or repositories SAVED are opened with every Auto class that their configurations name, the
others with their own only. What
the encoder computes goes to RESULTS/results.safetensors under "SAVED Auto class", the full names of the classes to
RESULTS/classes.json. Of the first COUNT, the model that is opened as what it was saved is saved again, with its
tokenizer, to RESULTS/SAVED/Auto class.
"""

import argparse
import json
import sys
from pathlib import Path


class NotInstalled:
    """Finds no `hf_elmo`, wherever it may be installed."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_elmo":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("saved", nargs="+")
    parser.add_argument("--with-package", action="store_true")
    parser.add_argument("--every", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.with_package:
        import hf_elmo  # noqa: F401
    else:
        sys.meta_path.insert(0, NotInstalled())
        assert "hf_elmo" not in sys.modules

    import torch
    import transformers
    from safetensors.torch import save_file

    outputs, classes = {}, {}
    options = {"trust_remote_code": True, "ignore_mismatched_sizes": True}  # a scorer of choices has one output
    for number, saved in enumerate(arguments.saved):
        config = transformers.AutoConfig.from_pretrained(saved, trust_remote_code=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(saved, trust_remote_code=True)
        batch = tokenizer(["The bank was closed.", "I went to the river bank."], padding=True, return_tensors="pt")
        for auto_class in config.auto_map:
            is_own = config.auto_map[auto_class].split(".")[-1] in config.architectures
            if auto_class == "AutoConfig" or not (is_own or number < arguments.every):
                continue
            model = getattr(transformers, auto_class).from_pretrained(saved, **options).eval()
            with torch.no_grad():
                encoder = model.base_model(**batch).last_hidden_state
            key = f"{saved} {auto_class}"
            outputs[key] = encoder.contiguous()
            classes[key] = " ".join(
                f"{type(part).__module__}.{type(part).__name__}" for part in (config, tokenizer, model)
            )
            if is_own and number < arguments.every:
                again = arguments.results / Path(saved).name / auto_class
                model.save_pretrained(again)
                tokenizer.save_pretrained(again)
    arguments.results.mkdir(parents=True, exist_ok=True)
    save_file(outputs, arguments.results / "results.safetensors")
    (arguments.results / "classes.json").write_text(json.dumps(classes))
    assert arguments.with_package or "hf_elmo" not in sys.modules


if __name__ == "__main__":
    main()
