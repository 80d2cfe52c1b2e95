"""The console script `hf-elmo`: run `hf_elmo/cli.py` as a file of its own.

As a part of the package it would wait for torch and transformers, which `import hf_elmo` needs for its registration;
help, versions and mistyped commands need neither.
"""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path


def main() -> int:
    path = Path(find_spec("hf_elmo").origin).with_name("cli.py")  # a spec is found without an import
    return runpy.run_path(str(path))["main"]()


if __name__ == "__main__":
    sys.exit(main())
