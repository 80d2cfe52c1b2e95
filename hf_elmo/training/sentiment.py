"""The script [`classify`] under the name of its most frequent use: `python -m hf_elmo.training.sentiment`."""

import sys

from . import classify


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    return classify.main(arguments, name="sentiment")


if __name__ == "__main__":
    sys.exit(main())
