# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""`hf-elmo convert`: any published ELMo format to a Hub-ready folder, or back to the files of the original."""

import json
import math
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path

from hf_elmo.model.configuration_elmo import CHOICES

from .catalogue import convert_many, list_presets, table
from .conversion import Conversion, convert
from .file_kinds import printable
from .presets import catalogue, read_catalogue
from .push import push
from .sources import FORMATS
from .verify import TOLERANCE, Verification, verify

EXAMPLES = """\
formats: {formats}; folders, zip and tar archives of them
presets: {presets} and {more} more: `hf-elmo convert --list`
"""


def add_arguments(parser: ArgumentParser):
    """Add the options of the command, in groups."""
    first = ["small", "original", "original-5.5b", "german"]
    formats = ", ".join(form.name for form in FORMATS if form.name != "safetensors")
    parser.epilog = EXAMPLES.format(formats=formats, presets=", ".join(first), more=len(catalogue()) - len(first))
    parser.add_argument(
        "source", nargs="?", help="weight file, archive, folder, preset, URL of one, or user/name on the Hub"
    )
    parser.add_argument("output", nargs="?", help="folder to make; with --catalogue, the folder of all folders")
    files = parser.add_argument_group("files beside the weights")
    files.add_argument("--options", metavar="FILE", help="options.json, if it is not beside the weights (file or URL)")
    files.add_argument("--softmax", metavar="FILE", help="softmax of the language model (file, URL, or 'published')")
    files.add_argument("--vocab", metavar="FILE", help="its words, one a line (file, URL, or 'published')")
    files.add_argument(
        "--embeddings", metavar="FILE", help="token embeddings of these words, for a model that reads words by them"
    )
    files.add_argument(
        "--alignment",
        metavar="FILE",
        nargs="+",
        default=[],
        help="matrices to another language, of the first biLSTM layer or of layer N: N=FILE (best_mapping.pth)",
    )
    files.add_argument(
        "--prefer", choices=("hdf5", "checkpoint"), help="what to read where a folder holds both (default: hdf5)"
    )
    files.add_argument(
        "--encoder-only", action="store_true", help="leave out the task model around the ELMo of an AllenNLP archive"
    )
    files.add_argument(
        "--part", metavar="NAME", help="the ELMo to convert of an AllenNLP archive that holds several, or its language"
    )
    files.add_argument("--keep-optimizer", action="store_true", help="keep Adagrad's state of a TensorFlow checkpoint")
    result = parser.add_argument_group("result")
    formats = ("safetensors", "sentence-transformers", "hdf5", "elmoformanylangs")
    result.add_argument("--to", choices=formats, default="safetensors", help="format to write (default: %(default)s)")
    result.add_argument(
        "--pooling",
        choices=CHOICES["sentence_pooling"],
        help="with --to sentence-transformers: how words become the vector of a text (default: mean)",
    )
    result.add_argument(
        "--dtype", choices=("float32", "int8"), help="widen the weights, or round the encoder's matrices to 8 bits"
    )
    result.add_argument("--license", metavar="ID", help="license of the weights, for the model card (apache-2.0, ...)")
    result.add_argument(
        "--language", metavar="CODE", help="language of the model, for the model card (en, de, ...), or of --list"
    )
    result.add_argument("--overwrite", action="store_true", help="replace a model that is at the output")
    result.add_argument(
        "--push-to-hub", metavar="USER/NAME", help="upload the folder; with --catalogue, to an organization"
    )
    result.add_argument("--json", action="store_true", help="print one JSON object")
    check = parser.add_argument_group("comparison with outputs of the original software")
    check.add_argument("--verify", metavar="EXPECTED", help="the outputs (.npz, .hdf5)")
    check.add_argument("--verify-text", metavar="FILE", help="their sentences, one a line, where they lack them")
    check.add_argument("--verify-batch-size", type=int, metavar="B", help="batch size they were computed with")
    check.add_argument("--tolerance", type=float, default=TOLERANCE, help="largest difference allowed (%(default)s)")
    many = parser.add_argument_group("published models")
    many.add_argument("--list", action="store_true", help="list them, of one language with --language")
    many.add_argument(
        "--catalogue", metavar="FILE", help="convert every model of a list (JSON, or 'published' for all), and continue"
    )


def run(arguments: Namespace) -> int:
    """Convert, verify and push as asked. Returns the exit code: 1 if outputs differ, or a model of a list failed."""
    if arguments.list:
        return run_list(arguments)
    if arguments.catalogue:
        return run_catalogue(arguments)
    if arguments.source is None or arguments.output is None:
        raise ValueError("expected SOURCE and OUTPUT, or --list, or --catalogue FILE OUTPUT; --help says more")
    if arguments.verify and arguments.to == "hdf5":
        raise ValueError("--verify computes with the converted model; leave out --to hdf5")
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
        embeddings=arguments.embeddings,
        alignment=arguments.alignment,
        to=arguments.to,
        dtype=arguments.dtype,
        pooling=arguments.pooling,
        license=arguments.license,
        language=arguments.language,
        name=arguments.push_to_hub,
        keep_optimizer=arguments.keep_optimizer,
        prefer=arguments.prefer,
        encoder_only=arguments.encoder_only,
        part=arguments.part,
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


def run_list(arguments: Namespace) -> int:
    """Print the published models."""
    presets = [preset for preset in catalogue().values() if arguments.language in (None, preset.language)]
    if not presets:
        languages = sorted({preset.language for preset in catalogue().values() if preset.language})
        raise ValueError(f"no published model of the language {arguments.language!r}; known are {', '.join(languages)}")
    print(json.dumps([asdict(preset) for preset in presets]) if arguments.json else list_presets(presets))
    return 0


def run_catalogue(arguments: Namespace) -> int:
    """Convert every model of a list, and end with a table."""
    if (output := arguments.output or arguments.source) is None or None not in (arguments.source, arguments.output):
        raise ValueError("--catalogue FILE takes one folder, OUTPUT, in which each model gets a folder of its own")
    published = arguments.catalogue == "published" and not Path("published").exists()
    presets = catalogue() if published else read_catalogue(Path(arguments.catalogue))
    outcomes = []
    for outcome in convert_many(presets.values(), Path(output), arguments.push_to_hub):
        print(f"{outcome.name}: {outcome.result}", file=sys.stderr)
        outcomes.append(outcome)
    if arguments.json:
        print(json.dumps([outcome._asdict() for outcome in outcomes]))
    else:
        print(table([("name", "result", "detail"), *outcomes]))
    return 1 if any(outcome.result == "failed" for outcome in outcomes) else 0


def report(conversion: Conversion, verification: Verification | None, url: str | None):
    size = f"{conversion.config.num_hidden_layers} layers, {conversion.config.hidden_size} wide"
    print(f"{conversion.output}: converted from {conversion.format}, {size}")
    if head := conversion.head:
        labels = f", {len(head.labels)} labels: {printable(', '.join(head.labels))}" if head.labels else ""
        print(f"  its {head.kind} became {head.architecture}{labels}")
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
    config, head = conversion.config, conversion.head
    return {
        "output": str(conversion.output),
        "format": conversion.format,
        "files": conversion.files,
        "num_hidden_layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "word_vocab_size": config.word_vocab_size,
        "task_model": head and {"type": head.kind, "architecture": head.architecture, "labels": head.labels},
        "notes": conversion.notes,
        "verification": verification and as_json_verification(verification),
        "url": url,
    }


def as_json_verification(verification: Verification) -> dict:
    finite = [difference if math.isfinite(difference) else None for difference in verification.differences]
    return {**verification._asdict(), "differences": finite, "passed": verification.passed}
