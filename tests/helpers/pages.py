"""The blocks of a page of documentation, and a session that runs them in order, as a reader does."""

import json
import os
import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n)?(?:<!-- needs: (?P<needs>\w+) -->\n)?"
    r"```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.M | re.S,
)
# Runs the Python blocks of a page in one namespace: it reads each as a line of JSON, and answers with its error.
INTERPRETER = """
import json, sys, traceback
namespace = {"__name__": "__main__"}
for line in sys.stdin:
    try:
        exec(compile(json.loads(line), "block", "exec"), namespace)
        error = ""
    except BaseException:
        error = traceback.format_exc()
    print("\\0" + json.dumps(error), flush=True)
"""


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    not_run: str | None  # the reason, as the page gives it
    needs: str | None = None  # a library that the package does not bring


def blocks_of(page: Path) -> list[Block]:
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["language"], match["code"], match["reason"], match["needs"]) for match in found]


class Session:
    """A shell and a Python interpreter in `folder`, which live from block to block."""

    def __init__(self, folder: Path, **environment: str):
        self.folder, self.environment = folder, {**os.environ, **environment}
        self.shell = self.start(["bash", "--norc", "-e"])
        self.interpreter, self.python = Path(sys.executable), None

    def start(self, command: list[str]) -> subprocess.Popen:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, text=True, **pipes)

    def run(self, block: Block) -> str:
        """Run a block and return what it printed; an error in it is an `AssertionError` that shows this."""
        if block.language == "sh":
            script = self.folder.parent / "block.sh"
            script.write_text(block.code, encoding="utf-8")
            printed, end = self.ask(self.shell, f"source '{script}' < /dev/null; printf '\\0\\n'")
            assert end is not None, f"{block.code}\nended in:\n{printed[-5000:]}"
            return printed
        if self.python is None:
            self.python = self.start([str(self.interpreter), "-c", INTERPRETER])
        printed, end = self.ask(self.python, json.dumps(block.code))
        assert end == '""', f"{block.code}\nended in:\n{printed[-3000:]}\n{json.loads(end) if end else 'death'}"
        return printed

    @staticmethod
    def ask(process: subprocess.Popen, line: str) -> tuple[str, str | None]:
        """Send a line; return what is printed until the answer, and the answer, None if the process ended."""
        process.stdin.write(line + "\n")
        process.stdin.flush()
        printed = []
        for answer in process.stdout:
            text, zero, end = answer.partition("\0")
            printed.append(text)
            if zero:
                return "".join(printed), end.strip()
        return "".join(printed), None

    def close(self) -> None:
        for process in (self.shell, self.python):
            if process is not None:
                process.stdin.close()
                process.wait(timeout=60)
                process.stdout.close()


def clone(repository: Path, folder: Path) -> Path:
    """Copy what a clone of the repository has to `folder`."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True)
    if listed.returncode == 0:
        names = [name for name in listed.stdout.split("\0") if name]
    else:  # a source distribution
        files = (path for path in repository.rglob("*") if path.is_file())
        names = [str(path.relative_to(repository)) for path in files if "__pycache__" not in path.parts]
    for name in names:
        if (repository / name).is_file() and name.split("/")[0] not in (".venv", "tests"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((repository / name).read_bytes())
    return folder


def borrow_packages(folder: Path) -> None:
    """Make an environment in the clone `folder` that borrows the packages of this one."""
    venv.create(folder / ".venv")
    (site,) = (folder / ".venv").rglob("site-packages")
    borrowed = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n", encoding="utf-8")
