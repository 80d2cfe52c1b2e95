"""Set everything up in `.venv`, then run the demo or the tests. Needs Python with pip, and nothing else.

python3 run.py demo
python3 run.py test [pytest arguments]
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["demo"]:
        install("")
        return subprocess.call([PYTHON, "-m", "hf_elmo.cli", "demo", *arguments[1:]], cwd=ROOT)
    if arguments[:1] == ["test"]:
        install("[test]")
        workers = min(os.cpu_count() or 1, 4)
        # One thread for each worker: more would only take turns on the same cores.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pytest = [PYTHON, "-m", "pytest", "-n", str(workers), "--dist", "worksteal", *arguments[1:]]
        return subprocess.call(pytest, cwd=ROOT, env=environment)
    print(__doc__, file=sys.stderr)
    return 2


def install(extra: str) -> None:
    """Install the package, editable, and its dependencies into the environment, unless that is done."""
    if not (PYTHON.exists() and pip("--version", capture_output=True).returncode == 0):
        print(f"creating {ENVIRONMENT}", flush=True)
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
    done = ENVIRONMENT / f"installed{extra}.txt"
    wanted = f"{sys.version}\n{ROOT}\n{(ROOT / 'pyproject.toml').read_text(encoding='utf-8')}"
    if done.exists() and done.read_text(encoding="utf-8") == wanted:
        return
    print(f"installing hf_elmo{extra} and what it needs", flush=True)
    pip("install", "--quiet", *cpu_build_of_torch(), "--editable", f"{ROOT}{extra}", check=True)
    done.write_text(wanted, encoding="utf-8")


def cpu_build_of_torch() -> list[str]:
    """The newest CPU build of torch that pip is offered, as a requirement; nothing if there is none.

    Left to itself, pip takes the newest version of all, which on Linux brings gigabytes of CUDA libraries.
    """
    listing = pip("index", "versions", "torch", capture_output=True, text=True).stdout
    versions = next(
        (line.split(":", 1)[1] for line in listing.splitlines() if line.startswith("Available versions:")), ""
    )
    builds = [version.strip() for version in versions.split(",") if version.strip().endswith("+cpu")]
    return [f"torch=={builds[0]}"] if builds else []


def pip(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [PYTHON, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, cwd=ROOT, **options)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"run.py: this command failed: {' '.join(map(str, error.cmd))}")
