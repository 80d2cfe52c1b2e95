"""The notebooks of `docs/tutorials`: each runs from top to bottom in an empty folder, and reads well as a page."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from fresh_process import python_with_transformers

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

DOCS = Path(__file__).resolve().parents[2] / "docs"
NOTEBOOKS = sorted((DOCS / "tutorials").glob("*.ipynb"))
# What a notebook shows with any reasonable model, beside that none of its cells fails.
SHOWN = {
    "convert-and-embed": r"layer 0: cosine 1\.000",
    "pretrain-a-small-language": r"\.\.\. riverojn \. +la, ",
    "senses-and-layers": r"layer 2: \d+ of 12",
    "sentence-search": r"layer: (0|1|2|mix)\n",
    "train-a-tagger": r"\{'entity_group': '(PER|LOC)', 'word': '.+', 'start': \d+, 'end': \d+\}",
}


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    """The hook of the site, which runs notebooks and makes pages of them."""
    spec = importlib.util.spec_from_file_location("notebooks", DOCS / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_tutorial_is_checked():
    assert [path.stem for path in NOTEBOOKS] == sorted(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_as_it_is_written(path):
    """Without outputs, which would be out of date with the next model, and with a sentence before each cell of code."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = notebook.cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    assert cells[0].source.startswith("# ")
    for cell in cells:
        if cell.cell_type == "markdown":
            assert re.search(r"[.:?]$", cell.source.rstrip()), cell.source
            assert max(map(len, cell.source.splitlines())) <= 140
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", cell.source) if cell.cell_type == "markdown" else ():
            assert (path.parent / target).exists() or (path.parent / f"{target}.md").exists(), target


@pytest.fixture(scope="module")
def kernels(tmp_path_factory) -> Path:
    """A folder in which Jupyter finds a kernel that has transformers imported, and the package not."""
    folder = tmp_path_factory.mktemp("jupyter")
    command = [python_with_transformers(), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = folder / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, pages, kernels, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(kernels))
    text, pictures = pages.to_markdown(pages.run(path, tmp_path), path.stem)
    assert re.search(SHOWN[path.stem], text)
    assert pictures
    assert all(content.startswith(b"\x89PNG") and f"({name})" in text for name, content in pictures.items())
    assert "Error" not in text
    assert ".ipynb)" not in text
