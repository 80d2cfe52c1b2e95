# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Raw text to words: the rules that the tokenizer and the preparation of corpora share.

No rule rewrites anything: joined, the words are the text without its white space. `treebank` follows the Penn Treebank:

- Brackets, double quotes, ; ! ? % currency signs, dashes and the like stand alone; so do "...", "--", "``" and "''".
- Clitics are cut off: do|n't, John|'s, we|'ll, I|'m, they|'re, you|'ve, he|'d. So are single quotes around a word.
  An apostrophe elsewhere stays: O'Brien, o'clock, '90s, 'em.
- , and : stay between digits (1,000 and 10:30), & inside a word (AT&T), hyphens, /, @ and # everywhere.
- A period stays inside a word (3.14, example.com). At its end it is cut off, except in letters with periods (U.S.)
  everywhere, and in abbreviations (Mr.) and initials (J.) unless the text ends there.
- Links are kept whole, and so is what corpora that are split already write: <unk>, @-@, do n't, don 't.

`punctuation` is the same without clitics, quoted years and English abbreviations, and knows the punctuation of more
scripts. With `letters_digits`, as in AllenNLP, words are sequences of letters or of digits, and every other character
stands alone; with `whitespace`, the text must be split beforehand. Python and Rust read the patterns alike.
"""

import re
from collections.abc import Iterable

BLANK = r"\s\x1c-\x1f"
ALONE = (
    r'\[\](){}<>";!?%$\u00a1\u00a2\u00a3\u00a5\u00ab\u00bb\u00bf\u2013-\u2015\u201c-\u201f\u2022\u2026\u2039\u203a\u20ac'
    r"\u3001\u3002\u3008-\u3011\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"  # Chinese and Japanese
)
# Greek, Armenian, Hebrew, Arabic, Devanagari, Ethiopic, then typography and more of Chinese and Japanese
MORE_ALONE = (
    r"\u00a7\u00b6\u00b7\u037e\u0387\u055a-\u055f\u0589\u05be\u05c0\u05c3\u060c\u061b\u061f\u066a-\u066d\u06d4"
    r"\u0964\u0965\u1361-\u1368\u2010-\u2017\u2020-\u2027\u2030-\u2038\u203b-\u203e\u2e2e"
    r"\u3003\u3014-\u301f\u30fb\ufe50-\ufe6b\uff05\uff0e\uff0f\uff3b\uff3d\uff5b-\uff65"
)
APOSTROPHE = r"['\u2019]"
ABBREVIATION = (
    "[A-HJ-Z]|Mr|Mrs|Ms|Messrs|Dr|Prof|Rev|Hon|Gov|Sen|Rep|Pres|Gen|Col|Maj|Capt|Lt|Sgt|St|Mt|Ft|Jr|Sr|Inc|Corp|Co|Ltd|"
    "Bros|Ph\\.D|Jan|Feb|Mar|Apr|Aug|Sept|Oct|Nov|Dec|vs|etc|al|cf"
)


def pattern(alone: str, english: bool) -> re.Pattern:
    """Build the pattern of a rule: each match is a word. `alone` are characters that stand alone, for a character
    class; if `english`, clitics, abbreviations and quoted years are known."""
    plain = rf"[^{BLANK}{alone}.,:&'\u2018\u2019`\-]"
    end = rf"(?!-?{plain})"
    clitic = rf"(?:[sSmMdD]|[lL][lL]|[rRvV][eE]){end}"
    negation = rf"[nN]{APOSTROPHE}[tT]{end}"
    clitics = (
        rf"(?:{ABBREVIATION})\.{end}(?=[{BLANK}]*[^{BLANK}])",  # Mr. and J., if more text follows
        rf"[nN]os?\.(?=[{BLANK}]*\d)",  # No. 1
        negation,
        rf"{APOSTROPHE}(?:{clitic}|[tT]{end}|(?:em|til|tis|twas){end}|\d\ds?{end})",
    )
    inner = rf"(?!{negation}){plain}" if english else plain
    inner_apostrophe = rf"{APOSTROPHE}(?!{clitic})(?={plain})" if english else rf"{APOSTROPHE}(?={plain})"
    return re.compile(
        "|".join(
            (
                rf"""(?:https?://|www\.)[^{BLANK}<>"]*[^{BLANK}<>".,:;!?()'\u2019\u201d\]]""",  # a link
                rf"(?:[^\W\d_]\.){{2,}}{end}",  # U.S.
                r"<unk>|<UNK>|@[-,.]@",
                *(clitics if english else ()),
                rf"-?{plain}(?:{inner}|-(?!-)|\.(?=-?{plain})|[,:](?<=\d[,:])(?=\d)|&(?={plain})|{inner_apostrophe})*",
                rf"\.{{2,}}|-{{2,}}|``|''|[^{BLANK}]",  # punctuation
            )
        )
    )


SPLITTING_RULES = {
    "treebank": pattern(ALONE, english=True),
    "punctuation": pattern(ALONE + MORE_ALONE, english=False),
    "letters_digits": re.compile(r"[^\W\d_]+|\d+|\S"),
    "whitespace": re.compile(rf"[^{BLANK}]+"),
}


def splitting_rule(name: str) -> re.Pattern:
    """Return the pattern of a rule, whose matches in raw text are the words; `ValueError` for any other name."""
    if not isinstance(name, str) or name not in SPLITTING_RULES:
        raise ValueError(f"split must be one of {', '.join(map(repr, SPLITTING_RULES))}, but is {name!r}")
    return SPLITTING_RULES[name]


class KeptWords:
    """Words that are kept whole wherever they occur in raw text, the longer ones first; each is given with whether it
    counts only between characters that belong to no word."""

    def __init__(self, words: Iterable[tuple[str, bool]]):
        words = sorted(words, key=lambda word: -len(word[0]))
        self.words = [word for word, _ in words]
        patterns = (rf"(?<!\w){re.escape(word)}(?!\w)" if alone else re.escape(word) for word, alone in words)
        self.pattern = re.compile("|".join(patterns))

    def split(self, text: str, rule: str) -> list[str]:
        """Return the words of raw text: kept words, and the text between them split by the rule of this name."""
        split = splitting_rule(rule).findall
        if not any(word in text for word in self.words):
            return split(text)
        words, end = [], 0
        for kept in self.pattern.finditer(text):
            words += [*split(text, end, kept.start()), kept.group()]
            end = kept.end()
        return words + split(text, end)
