"""Random damage to the files of a folder, as broken downloads, wrong edits and other programs do it."""

import json
import random
from contextlib import suppress
from pathlib import Path

VALUES = [None, True, -1, 0, 1.5, 1e300, 10**30, "", "x", "\n", [], {}, [[]], "../x", "NaN"]


def mutate(folder: Path, dice: random.Random):
    """Damage one file of a folder: bytes, length, or a value of a JSON file."""
    path = dice.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    content = bytearray(path.read_bytes() or b"x")
    kind = dice.choice(["flip", "flip", "flip", "cut", "insert", "repeat", "zero", "text", "value", "value"])
    place = dice.randrange(len(content))
    if kind == "value" and path.suffix == ".json":
        with suppress(ValueError):  # of a file damaged before
            return path.write_text(json.dumps(changed(json.loads(content), dice)))
    if kind == "cut":
        del content[place:]
    elif kind == "insert":
        content[place:place] = dice.randbytes(dice.randint(1, 9))
    elif kind == "repeat":
        content += content[: place + 1]
    elif kind == "zero":
        content[place : place + 64] = bytes(min(64, len(content) - place))
    elif kind == "text":
        content[:] = b"<html>" if dice.random() < 0.5 else b""
    else:
        for _ in range(dice.randint(1, 8)):
            content[min(place + dice.randint(0, 40), len(content) - 1)] ^= 1 << dice.randrange(8)
    return path.write_bytes(content)


def changed(value, dice: random.Random):
    """Replace, remove or keep parts of a JSON value."""
    if isinstance(value, dict) and value and dice.random() < 0.8:
        key = dice.choice(sorted(value))
        return {**value, key: changed(value[key], dice)} if dice.random() < 0.9 else {**value, "x": dice.choice(VALUES)}
    return dice.choice(VALUES)
