"""The rules that split raw text into words, described in one sentence each, for model cards."""

DESCRIPTIONS = {
    "treebank": "Punctuation and English clitics stand apart, as in the Penn Treebank (do n't), and nothing is "
    "rewritten.",
    "punctuation": "Punctuation stands apart from words, in whatever language, and nothing is rewritten.",
    "letters_digits": "Words are sequences of letters or of digits; every other character stands alone, as AllenNLP's "
    "letters_digits splits.",
    "whitespace": "Words are separated by white space only, so the text must be split beforehand.",
}
