# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""`hf-elmo convert`: any published ELMo format to a Hub-ready folder, or back to the original's files."""

import json
import math
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from huggingface_hub import HfApi

from hf_elmo.hub import hub_errors

from .conversion import Conversion, convert
from .presets import PRESETS
from .verify import TOLERANCE, Verification, verify


def add_arguments(parser: ArgumentParser):
    width = max(map(len, PRESETS))
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = "presets:\n" + "\n".join(f"  {name:{width}}  {preset.about}" for name, preset in PRESETS.items())
    parser.add_argument("source", help="weight file, folder, preset, URL of a weight file, or user/name on the Hub")
    parser.add_argument("output", help="folder to make")
    parser.add_argument("--options", metavar="FILE", help="options.json, if it is not beside the weights (file or URL)")
    parser.add_argument("--softmax", metavar="FILE", help="softmax of the language model (file, URL, or 'published')")
    parser.add_argument("--vocab", metavar="FILE", help="its words, one a line (file, URL, or 'published')")
    parser.add_argument("--to", choices=("safetensors", "hdf5"), default="safetensors", help="format to write")
    parser.add_argument("--dtype", choices=("int8",), help="round the encoder's matrices to 8 bits")
    parser.add_argument("--license", metavar="ID", help="license of the weights, for the model card (apache-2.0, ...)")
    parser.add_argument("--language", metavar="CODE", help="language of the model, for the model card (en, de, ...)")
    parser.add_argument("--keep-optimizer", action="store_true", help="keep Adagrad's state of a TensorFlow checkpoint")
    parser.add_argument(
        "--prefer", choices=("hdf5", "checkpoint"), help="what to read where a folder holds both (default: hdf5)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a model that is at the output")
    parser.add_argument(
        "--verify", metavar="EXPECTED", help="compare with outputs of the original software (.npz, .hdf5)"
    )
    parser.add_argument(
        "--verify-text", metavar="FILE", help="the sentences of these outputs, one a line, where they lack them"
    )
    parser.add_argument("--verify-batch-size", type=int, metavar="B", help="batch size they were computed with")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="largest difference allowed (%(default)s)")
    parser.add_argument("--push-to-hub", metavar="USER/NAME", help="upload the folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: Namespace) -> int:
    """Convert, verify and push as asked. Returns the exit code: 1 if the outputs differ."""
    if arguments.verify and arguments.to != "safetensors":
        raise ValueError("--verify computes with the converted model; it goes with --to safetensors")
    for file in (arguments.verify, arguments.verify_text):
        if file and not Path(file).is_file():
            raise ValueError(f"{file}: no such file; expected what --verify compares with")
    if arguments.verify_batch_size is not None and arguments.verify_batch_size < 1:
        raise ValueError(f"--verify-batch-size must be at least 1, but is {arguments.verify_batch_size}")
    conversion = convert(
        arguments.source,
        arguments.output,
        options=arguments.options,
        softmax=arguments.softmax,
        vocab=arguments.vocab,
        to=arguments.to,
        dtype=arguments.dtype,
        license=arguments.license,
        language=arguments.language,
        name=arguments.push_to_hub,
        keep_optimizer=arguments.keep_optimizer,
        prefer=arguments.prefer,
        overwrite=arguments.overwrite,
    )
    for note in conversion.notes:
        print(f"note: {note}", file=sys.stderr)
    verification = None
    if arguments.verify:
        verification = verify(
            conversion.output,
            Path(arguments.verify),
            text=arguments.verify_text and Path(arguments.verify_text),
            batch_size=arguments.verify_batch_size,
            tolerance=arguments.tolerance,
        )
    passed = verification is None or verification.passed
    url = push(conversion.output, arguments.push_to_hub) if arguments.push_to_hub and passed else None
    if arguments.json:
        print(json.dumps(as_json(conversion, verification, url)))
    else:
        report(conversion, verification, url)
    return 0 if passed else 1


def push(folder: Path, name: str) -> str:
    """Upload a converted folder, model card included, to a repository that is made if need be."""
    api = HfApi()
    with hub_errors(name):
        repository = api.create_repo(name, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repository.repo_id, commit_message="Convert the original weights")
    return str(repository)


def report(conversion: Conversion, verification: Verification | None, url: str | None):
    config = conversion.config
    print(f"{conversion.output}: {conversion.format}, {config.num_hidden_layers} layers, {config.hidden_size} wide")
    for name, digest in conversion.files.items():
        print(f"  {digest}  {name}")
    if verification:
        for layer, difference in enumerate(verification.differences):
            print(f"  layer {layer}: largest difference {difference:.2e}")
        verdict = "verified" if verification.passed else "DIFFERENT"
        print(f"  {verdict}: {verification.what}, tolerance {verification.tolerance:g}")
    if url:
        print(f"  pushed to {url}")


def as_json(conversion: Conversion, verification: Verification | None, url: str | None) -> dict:
    config = conversion.config
    return {
        "output": str(conversion.output),
        "format": conversion.format,
        "files": conversion.files,
        "num_hidden_layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "word_vocab_size": config.word_vocab_size,
        "notes": conversion.notes,
        "verification": verification and as_json_verification(verification),
        "url": url,
    }


def as_json_verification(verification: Verification) -> dict:
    finite = [difference if math.isfinite(difference) else None for difference in verification.differences]
    return {**verification._asdict(), "differences": finite, "passed": verification.passed}
