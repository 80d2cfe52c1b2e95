"""The notebooks of `docs/tutorials` as pages: a hook of MkDocs that runs them, and functions that the tests use, too.

The repository stores notebooks without their outputs: these depend on the model in the package and on versions, and
would be out of date with the next of them. So a page shows what its notebook gives when the site is built.
`run_notebooks: false` under `extra` of `mkdocs.yml` leaves the outputs out.
"""

import base64
import os
import re
import shutil
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TEXTS = (".txt", ".tsv")  # what notebooks read
LONGEST = 60  # lines of an output that are shown


def run(path: Path, folder: Path, seconds: int = 300) -> nbformat.NotebookNode:
    """Run a notebook in a folder, to which the texts beside it are copied; return it with its outputs.

    Raises:
        `nbclient.exceptions.CellExecutionError`: for an error in a cell.
    """
    for text in path.parent.iterdir():
        if text.suffix in TEXTS:
            shutil.copy(text, folder)
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=seconds, kernel_name="python3", resources=place)
    return client.execute(env={**os.environ, "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"})


def to_markdown(notebook: nbformat.NotebookNode, name: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and the pictures in its outputs by their names, which begin with `name`."""
    parts, pictures = [], {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source.replace(".ipynb)", ".md)"))
            continue
        parts.append(fenced("python", cell.source))
        printed, drawn = "", []
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                picture = f"{name}-{len(pictures) + 1}.png"
                drawn.append(picture)
                pictures[picture] = base64.b64decode(data["image/png"])
            elif "text/html" not in data:  # what moves, such as a progress bar
                printed += output.text if output.output_type == "stream" else data.get("text/plain", "") + "\n"
        if printed := shortened(printed):
            parts.append(fenced("text", printed))
        parts += [f"![What the cell above draws]({picture})" for picture in drawn]
    return "\n\n".join(parts) + "\n", pictures


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def shortened(text: str) -> str:
    """Return text as a terminal shows it in the end: without colors, overwritten lines and progress bars."""
    lines = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in re.sub(r"\x1b\[[\d;]*m", "", text).split("\n")]
    lines = [line for line in lines if not re.search(r"\d%\|.*\[.*\]", line)]
    return "\n".join(lines[:LONGEST] + ["..."] * (len(lines) > LONGEST)).strip("\n")


# ---- What MkDocs calls


def on_files(files, config):
    """Put a page beside each notebook, which stays for those who download it."""
    from mkdocs.structure.files import File  # only the site needs it

    for file in list(files):
        if not file.src_uri.endswith(".ipynb"):
            continue
        path, folder = Path(file.abs_src_path), Path(file.src_uri).parent
        if config.extra.get("run_notebooks", True):
            with tempfile.TemporaryDirectory() as place:
                notebook = run(path, Path(place))
        else:
            notebook = nbformat.read(path, as_version=4)
        text, pictures = to_markdown(notebook, path.stem)
        title, rest = text.split("\n", 1)
        text = f"{title}\n\n[This page as a notebook]({path.name})\n{rest}"
        files.append(File.generated(config, str(folder / f"{path.stem}.md"), content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, str(folder / name), content=content))
    return files


def on_page_markdown(markdown: str, page, **_) -> str:
    """Let links to notebooks lead to their pages."""
    return markdown if page.file.generated_by else re.sub(r"(\]\(tutorials/[\w-]+)\.ipynb\)", r"\1.md)", markdown)
