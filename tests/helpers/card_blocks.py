# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The code blocks of cards, run where the saved folders lie and without the package."""

import json
import re
from pathlib import Path
from typing import Any

from fresh_process import REPOSITORY, run_python

# Runs each block of code by itself, and prints what its last line assigned.
RUN = """
import json, os, sys
os.chdir({home!r})
sys.path.insert(0, {helpers!r})
from stranger import NotInstalled
sys.meta_path.insert(0, NotInstalled())
results = {{}}
for name, code in json.loads({blocks!r}).items():
    names = {{}}
    exec(code, names)
    result = names[code.strip().splitlines()[-1].split(" = ")[0]]
    results[name] = list(result.shape) if hasattr(result, "shape") else result
    if "first" in names:
        results[name] = [names["first"], names["last"], result]
print(json.dumps(results))
"""


def card_block(folder: Path) -> str:
    """Return the only block of code of a folder's card."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return block


def run_blocks(blocks: dict[str, str], home: Path) -> dict[str, Any]:
    """Run blocks by the names of their folders in `home`, and return what the last line of each assigns."""
    script = RUN.format(helpers=str(REPOSITORY / "tests" / "helpers"), blocks=json.dumps(blocks), home=str(home))
    return json.loads(run_python("-c", script).stdout.splitlines()[-1])
