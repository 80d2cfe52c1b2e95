"""The original software's encoding of words, written as plainly as possible."""


def original_row(word: str, width: int = 50) -> list[int]:
    """Return the row of character ids that the original software gives a word."""
    special = {"<S>": [257], "</S>": [258]}
    characters = special.get(word) or [byte + 1 for byte in word.encode("utf-8", "ignore")[: width - 2]]
    return ([259, *characters, 260] + [261] * width)[:width]
