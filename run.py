"""Set everything up in a virtual environment beside this file, then run the demo, the tests or another task.

python3 run.py demo                          convert the weights in the box, load them, embed sentences
python3 run.py test [pytest arguments]       the tests, with the versions of requirements/
python3 run.py test --latest [...]           the tests, with the newest version of everything
python3 run.py test --lowest [...]           the tests, with the lowest versions that pyproject.toml allows
python3 run.py data NAME                     fetch the data behind a table of the documentation
python3 run.py lock                          renew the versions of requirements/

Needs Python 3.10 or newer with pip, and nothing else.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements" / f"py{sys.version_info.major}{sys.version_info.minor}.txt"
LOWEST = ROOT / "requirements" / "lowest.txt"


class Environment:
    """A virtual environment in the folder `name`, with the versions that the file `versions` fixes, if there is one.

    With `latest`, everything is upgraded each time, as what is newest changes from day to day.
    """

    def __init__(self, name: str, versions: Path | None, latest: bool = False):
        self.folder = ROOT / name
        self.latest = latest
        self.bin = self.folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.bin / ("python.exe" if os.name == "nt" else "python")
        self.versions = versions

    def install(self, extra: str = "") -> None:
        """Install the package, editable, with what `extra` of pyproject.toml asks for, unless that is done."""
        if not (self.python.exists() and self.pip("--version", capture_output=True).returncode == 0):
            print(f"creating {self.folder}", flush=True)
            venv.create(self.folder, clear=True, with_pip=True)
        done = self.folder / f"installed{extra}.txt"
        files = [ROOT / "pyproject.toml", *([self.versions] if self.versions else [])]
        wanted = "\n".join([sys.version, str(ROOT), *(file.read_text(encoding="utf-8") for file in files)])
        if done.exists() and done.read_text(encoding="utf-8") == wanted and not self.latest:
            return
        print(f"installing hf_elmo{extra} and what it needs", flush=True)
        torch = [f"torch=={version}"] if (version := self.cpu_build_of_torch()) else []
        upgrade = ["--upgrade", "--upgrade-strategy", "eager"] if self.latest else []
        self.pip("install", "--quiet", *upgrade, *torch, "--editable", f"{ROOT}{extra}", check=True)
        self.add_to_path()
        done.write_text(wanted, encoding="utf-8")

    def add_to_path(self) -> None:
        """Put this folder on the environment's path, too.

        The editable install is asked after all of the path. In the folder above a clone named hf_elmo, Python would
        take the clone itself for a package, an empty one without an `__init__.py`, and `import hf_elmo` would do
        nothing. A package on the path, even at its end, is preferred to that.
        """
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        packages = subprocess.run([self.python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
        Path(packages, "hf_elmo_clone.pth").write_text(f"{ROOT}\n", encoding="utf-8")

    def cpu_build_of_torch(self) -> str | None:
        """Return the CPU build of torch that pip is offered, of the fixed version or the newest; None if there is none.

        Without a local version in the requirement, pip may prefer a build that brings gigabytes of CUDA libraries.
        """
        listing = self.pip("index", "versions", "torch", capture_output=True, text=True).stdout
        line = next((line for line in listing.splitlines() if line.startswith("Available versions:")), ":")
        builds = [version.strip() for version in line.split(":", 1)[1].split(",") if version.strip().endswith("+cpu")]
        if self.versions:
            fixed = [line.removeprefix("torch==") for line in self.versions.read_text().splitlines()]
            builds = [build for build in builds if build.removesuffix("+cpu") in fixed]
        return builds[0] if builds else None

    def pip(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        command = [str(self.python), "-m", "pip", "--disable-pip-version-check", *arguments]
        # Older versions of pip would run a package's setup.py in this environment, not in one with what it needs.
        variables = {**os.environ, "PIP_USE_PEP517": "1"}
        if self.versions:
            # As variables, and not as options, constraints also hold where pip builds a package from its sources: by
            # the first in older versions, by the second in newer ones. An address, as spaces would separate files.
            variables |= dict.fromkeys(["PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"], self.versions.as_uri())
        return subprocess.run(command, cwd=ROOT, env=variables, **options)

    def run(self, *command: str | Path, **variables: str) -> int:
        return subprocess.call([str(part) for part in command], cwd=ROOT, env={**os.environ, **variables})


def locked() -> Environment:
    if not LOCK.exists():
        known = ", ".join(f"3.{path.stem[3:]}" for path in sorted(LOCK.parent.glob("py3*.txt")))
        print(f"run.py: no versions are locked for this Python (there are for {known}): taking the newest", flush=True)
    return Environment(".venv", LOCK if LOCK.exists() else None)


def demo(arguments: list[str]) -> int:
    environment = locked()
    environment.install()
    return environment.run(environment.python, "-m", "hf_elmo.cli", "demo", *arguments)


def test(arguments: list[str]) -> int:
    environment, options = locked(), []
    if arguments[:1] in (["--latest"], ["--lowest"]):
        latest = arguments[0] == "--latest"
        environment = Environment(".venv-latest", None, latest) if latest else Environment(".venv-lowest", LOWEST)
        arguments, options = arguments[1:], ["--unlocked"]
    environment.install("[test]")
    workers = str(min(os.cpu_count() or 1, 4))
    pytest = [environment.python, "-m", "pytest", "-n", workers, "--dist", "worksteal"]
    # One thread for each worker: more would only take turns on the same cores. The tests start many processes, which
    # need not compile the same modules again: an empty variable lets them keep the bytecode.
    return environment.run(*pytest, *options, *arguments, OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="")


def data(arguments: list[str]) -> int:
    return subprocess.call([sys.executable, str(ROOT / "benchmarks" / "data.py"), *arguments])


def lock(arguments: list[str]) -> int:
    environment = Environment(".venv-lock", None)
    if not environment.python.exists():
        venv.create(environment.folder, with_pip=True)
    environment.pip("install", "--quiet", "--upgrade", "pip", "packaging", check=True)
    torch = environment.cpu_build_of_torch()
    options = ["--torch", torch.removesuffix("+cpu")] if torch else []
    return environment.run(environment.python, ROOT / "requirements" / "renew.py", *options, *arguments)


COMMANDS = {"demo": demo, "test": test, "data": data, "lock": lock}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        return 2
    return COMMANDS[arguments[0]](arguments[1:])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"run.py: this command failed: {' '.join(map(str, error.cmd))}")
    except KeyboardInterrupt:
        sys.exit(130)
