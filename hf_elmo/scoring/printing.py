# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""One JSON object that is printed while its content is computed, and the progress bar beside it."""

import json
import sys
from collections.abc import Callable, Iterable

from tqdm.auto import tqdm


def print_object(name: str, items: Iterable[dict], rest: Callable[[], dict], flush: bool = False) -> None:
    """Print an object whose first field is a list, an item a line, in memory for one item.

    Args:
        name: Name of the list.
        items: Its items. Nothing is printed before the first is there.
        rest: Returns the other fields; called after the last item.
        flush: Whether each item is to be seen at once.
    """
    start = opening = f"{{{json.dumps(name)}: ["
    for item in items:
        print(f"{start}\n{json.dumps(item, ensure_ascii=False)}", end="", flush=flush)
        start = ","
    print(f"{opening if start == opening else chr(10)}], {json.dumps(rest(), ensure_ascii=False)[1:]}")


def progress_bar(unit: str, is_stream: bool, total: int | None = None) -> tqdm:
    """Return a progress bar, which is shown on a terminal that does not show the results themselves."""
    shown = not is_stream and not sys.stdout.isatty()
    return tqdm(unit=f" {unit}", total=total, disable=None if shown else True, leave=False)
