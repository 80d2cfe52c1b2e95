"""`hf-elmo env`: versions, devices, and which backend computes the recurrence and why."""

import importlib.metadata
import json
import os
import platform
from argparse import ArgumentParser, Namespace
from pathlib import Path

import torch

import hf_elmo

LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "huggingface-hub", "safetensors", "h5py")
OPTIONAL = ("triton", "peft", "torchao", "onnxruntime", "sentence-transformers")
# What products of float32, of 8-bit integers and of bfloat16 are made of
INSTRUCTIONS = {
    "avx2": {"avx2"},
    "avx512f": {"avx512_f"},
    "vnni": {"avx512_vnni", "avx_vnni"},
    "bf16": {"avx512_bf16", "amx_bf16"},
    "amx": {"amx_tile"},
}
# A model of this size runs in milliseconds, and its weights can be rounded to 8 bits.
TINY = {"char_embedding_size": 4, "char_cnn_filters": [[1, 16], [2, 16]], "projection_size": 16, "cell_size": 32}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: Namespace) -> None:
    facts = environment()
    if arguments.json:
        print(json.dumps(facts))
        return
    width = max(len(name) for section in facts.values() for name in section)
    for title, section in facts.items():
        print(title)
        for name, value in section.items():
            print(f"  {name:{width}}  {value}")


def environment() -> dict[str, dict[str, str]]:
    """Return what a report of a problem should name: versions, devices, and the backend of each device and task."""
    versions = {"hf-elmo": hf_elmo.__version__, "python": platform.python_version(), "system": platform.platform()}
    versions |= {name: version(name) for name in LIBRARIES}
    versions["torch"] = torch.__version__  # names the build, as its metadata may not
    versions |= {name: version(name) for name in OPTIONAL}
    devices = {"cpu": f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {instructions()}"}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        devices[f"cuda:{index}"] = (
            f"{properties.name}, {memory}, compute capability {properties.major}.{properties.minor}"
        )
    backends = {}
    for device in devices:
        backends[f"{device}, inference"] = backend(device, gradients=False)
        backends[f"{device}, training"] = backend(device, gradients=True)
    return {"versions": versions, "devices": devices, "backends of the recurrence": backends}


def version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """Return the name and the vendor of the processor, as precisely as the system gives them."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name") or platform.processor() or platform.machine()
    return f"{name}, {fields['vendor_id']}" if "vendor_id" in fields else name


def instructions() -> str:
    """Return the widest vector instructions that torch uses, and which of those for products the processor has."""
    there = {name for name, value in torch.cpu.get_capabilities().items() if value is True}
    found = [name if there & kinds else f"no {name}" for name, kinds in INSTRUCTIONS.items()]
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *found])


def backend(device: str, gradients: bool) -> str:
    """Return the backend that computed a tiny model's recurrence on `device`, and the reason for its selection."""
    try:
        model = hf_elmo.ElmoModel(hf_elmo.ElmoConfig(**TINY)).to(device)
        ids = torch.ones(2, 3, model.config.max_characters_per_token, dtype=torch.long, device=device)
        with torch.set_grad_enabled(gradients):
            model(ids)
        selected = hf_elmo.last_lstm_path()
    except (RuntimeError, ValueError) as error:  # a broken driver is what this command should show
        return f"fails: {' '.join(str(error).split())[:200]}"
    return f"{selected.name}: {selected.reason}"
