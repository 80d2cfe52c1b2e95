"""`import hf_elmo`: quiet, without side effects, and as cheap as the classes of transformers that it derives from."""

import json

import pytest
from fresh_process import REPOSITORY, run_python

BASE_CLASSES = """
import torch
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer, EncoderDecoderModel
from transformers import FillMaskPipeline, GenerationMixin, PreTrainedModel, TextGenerationPipeline
from transformers import TokenClassificationPipeline
from transformers.generation.streamers import BaseStreamer
from transformers.modeling_layers import GradientCheckpointingLayer
"""

# Reports the modules that imports load, and every socket made and file written on the way.
WATCHED = """
import json, sys
seen = []
def watch(event, arguments):
    if event.startswith("socket.") or event in ("subprocess.Popen", "os.system"):
        seen.append(event)
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        if not str(arguments[0]).endswith(".pyc") and "__pycache__" not in str(arguments[0]):
            seen.append(f"open {arguments[0]}")
sys.addaudithook(watch)
found = []
def note():
    found.append({"modules": sorted(sys.modules), "seen": list(seen)})
def answer():
    json.dump(found, open(sys.argv[1], "w"))
"""


def watched(tmp_path, *imports: str) -> list[tuple[set[str], list[str]]]:
    """Modules loaded and things done after each of the imports, one after the other, which must print nothing."""
    answer = tmp_path / "answer.json"
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    script = "\n".join([WATCHED, *(f"{lines}\nnote()" for lines in imports), "answer()"])
    process = run_python("-c", script, answer, home=home, anew=True, PYTHONPATH=str(REPOSITORY))
    assert process.stdout == ""
    assert process.stderr == ""
    return [(set(told["modules"]), told["seen"]) for told in json.loads(answer.read_text())]


@pytest.mark.slow
def test_import_loads_no_module_beside_those_of_its_base_classes(tmp_path):
    (before, done_before), (after, done) = watched(tmp_path, BASE_CLASSES, "import hf_elmo")
    assert "hf_elmo" in after
    assert {name for name in after - before if name.split(".")[0] != "hf_elmo"} == set()
    assert not [event for event in done if event.startswith("socket.")]
    assert set(done) <= set(done_before)
    assert not any((tmp_path / "home").iterdir())


@pytest.mark.slow
def test_a_configuration_needs_no_torch(tmp_path):
    """The file alone, as transformers opens it from a repository."""
    script = f"""
import sys, types
package = types.ModuleType("elmo")
package.__path__ = [{str(REPOSITORY / "hf_elmo" / "model")!r}]
sys.modules["elmo"], sys.modules["torch"] = package, None
from elmo.configuration_elmo import ElmoConfig
print(ElmoConfig().hidden_size)
"""
    assert run_python("-c", script, home=tmp_path, anew=True).stdout.endswith("1024\n")
