"""Files with a word per line, as the CoNLL shared tasks have them: their layouts, sentences, and predictions.

    columns       EU NNP B-NP B-ORG, separated by tabs if most lines have one, by blanks and tabs otherwise; a line with
                  the names of columns is recognized, and so is a running number before the words
    CoNLL-U       labels in UPOS, or in an attribute of MISC such as `name=B-PER`; CoNLL-U Plus names its columns
    CoNLL-2009    labels in POS; columns of arguments follow, as many as a sentence has predicates
    CoNLL-2012    entities as brackets in column 10: (GPE* *)
    sentences     a test file without labels may hold a sentence per line

An empty line, or one of white space, ends a sentence. `-DOCSTART-` lines, comments at the beginning of a sentence, and
the ranges (`3-4`) and empty nodes (`8.1`) of CoNLL-U are no words. A line with a label and an empty word is a word.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

from ...model.label_schemes_elmo import Label, parse_label
from ...text_files import Place, numbered_lines, one_word

Line = tuple[int, list[str]]  # number and columns

LINES_TO_JUDGE = 20_000  # lines by which the layout of a file is recognized
CONLLU = "ID FORM LEMMA UPOS XPOS FEATS HEAD DEPREL DEPS MISC".split()
CONLL2009 = "ID FORM LEMMA PLEMMA POS PPOS FEAT PFEAT HEAD PHEAD DEPREL PDEPREL FILLPRED PRED".split()
CONLL2012 = "document part number word pos parse lemma frameset sense speaker ner coreference".split()
WORD_NAMES = {"token", "tokens", "word", "words", "form", "text", "sentence"}
LABEL_NAMES = {"label", "labels", "tag", "tags", "ner", "ner_tag", "ner_tags", "pos", "upos", "xpos", "chunk", "entity"}
SENTENCE_NAMES = {"sentence #", "sentence_id", "sent_id", "sentence_idx", "sentence_number", "sentence"}
# Types of chunks in English and German CoNLL-2003
CHUNKS = {*"NP VP PP ADVP ADJP SBAR PRT CONJP INTJ LST UCP NC VC PC".split()}
OPEN = ("CoNLL-2009", "CoNLL-2012")  # kinds with any number of columns at the end
OUTSIDE = {"O", "o", "0", "-", "_", "OUTSIDE", "Outside", "outside"}  # labels of words outside of entities
COMMENT = re.compile(r"#\s+(id\s|\S+\s*=)")
BRACKETS = re.compile(r"(?:\(([^()*\s]+))?\*(\))?")
HEADS = re.compile(r"(\d+|_) (\d+|_) \S+ \S+ [Y_]")  # of CoNLL-2009, and whether a word is a predicate
RANGE = re.compile(r"\d+[-.]\d+")


class Layout(NamedTuple):
    """Where a file with a word per line has its words and labels.

    Its kind is columns, CoNLL-U, CoNLL-2009, CoNLL-2012, sentences, or table, if rows are sentences or a column numbers
    them.
    """

    kind: str
    has_tabs: bool = False  # which separate the columns
    width: int = 0  # number of columns; the least number in CoNLL-2009 and CoNLL-2012
    names: Sequence[str] = ()  # of the columns
    is_numbered: bool = False  # the first column counts the words of a sentence
    header: int | None = None  # number of the line with the names of columns
    word: int = 0  # column from 0
    label: int | None = None  # column from 0; `None` for a file without labels
    attribute: str | None = None  # of the label column, in MISC of CoNLL-U, that holds the label
    ignored: Sequence[int] = ()  # further columns that look like labels

    def describe(self) -> tuple[str, str | None, str | None]:
        """Return descriptions of the format and of the columns of words and labels."""
        if self.kind == "sentences":
            return "a sentence per line, words separated by blanks, without labels", None, None
        separator = "tabs" if self.has_tabs else "blanks"
        format = f"a word per line, columns separated by {separator}" if self.kind == "columns" else self.kind
        names = [f"column {n}" + (f" ({self.names[n]})" if self.names else "") for n in (self.word, self.label or 0)]
        attribute = f", attribute {self.attribute}" if self.attribute else ""
        return format, names[0], None if self.label is None else names[1] + attribute


# ---- Recognizing the layout


def find_layout(
    path: str,
    word_column: str | None = None,
    label_column: str | None = None,
    is_test: bool = False,
    known: Collection[str] = (),
    previous: Layout | None = None,
) -> Layout:
    """Return the layout of a file.

    Args:
        word_column, label_column: Numbers from 0 (-1 is the last) or names of columns that the user gave; of CoNLL-U
            also an attribute of MISC.
        is_test: Whether the file may lack labels.
        known: Labels that the model knows.
        previous: Layout of the training file, which decides where this one has the same columns.

    Raises:
        `ValueError`: if there is no such column, or it cannot be seen which column holds what.
    """
    lines = list(islice(numbered_lines(path), LINES_TO_JUDGE))
    filled = [line for _, line in lines if line.strip()]
    body = [line for line in filled if not line.startswith("#")] or filled
    has_tabs = 2 * sum("\t" in line for line in body) > len(body)
    widths = Counter(len(split_line(line, has_tabs)) for line in body)
    width = widths.most_common(1)[0][0] if widths else 1
    first = [line.split() for line in body[:50]]
    if any(line.startswith("#begin document") for line in filled[:3]) or have_numbers(first, len(CONLL2012), (1, 2)):
        layout = Layout("CoNLL-2012", False, len(CONLL2012), CONLL2012)
        return choose_columns(path, layout, [Counter()] * layout.width, word_column or "word", label_column or "ner")
    if have_numbers(first, len(CONLL2009), (0,)) and all(HEADS.fullmatch(" ".join(row[8:13])) for row in first):
        layout = Layout("CoNLL-2009", has_tabs, len(CONLL2009), CONLL2009, is_numbered=True)
        return choose_columns(path, layout, [Counter()] * layout.width, word_column or "form", label_column or "pos")
    rows = [(number, split_line(line, has_tabs)) for number, line in lines]
    rows = [row for row in rows if len(row[1]) in (0, width) and row[1][:1] != ["#"]]
    sentences = [sentence for sentence in blocks(rows) if sentence]
    plus = next((line.split("=", 1)[1].split() for line in filled[:50] if line.startswith("# global.columns")), ())
    layout = Layout("columns", has_tabs, width)
    names = [cell.strip() for cell in sentences[0][0][1]] if sentences else []
    if WORD_NAMES.intersection(map(str.lower, names)) and LABEL_NAMES.intersection(map(str.lower, names)):
        layout = layout._replace(header=sentences[0].pop(0)[0], names=names)
    layout = layout._replace(is_numbered=width > 1 and all(map(is_numbered, sentences)))
    if layout.is_numbered and width in (len(plus), len(CONLLU)):
        layout = layout._replace(kind="CoNLL-U", names=plus if len(plus) == width else CONLLU)
    cells = [columns for block in sentences for _, columns in block]
    if SENTENCE_NAMES.intersection(map(str.lower, layout.names)) or (has_tabs and width == 2 and hold_sentences(cells)):
        return layout._replace(kind="table", label=1)
    values = [Counter(columns[column].strip() for columns in cells) for column in range(width)]
    is_open = not (has_tabs or layout.is_numbered or word_column or label_column) and width > 1
    texts = [cell for line in body for cell in line.split()]
    mark = next((mark for mark in "/|_" if all(0 < cell.rfind(mark) < len(cell) - 1 for cell in texts)), None)
    if is_open and not is_test and mark is not None:  # as in `Oslo/NNP is/VBZ`
        raise ValueError(
            f"{path}: each word seems to be joined with its label by {mark!r} ({body[0].split()[0]!r}): write a word "
            "per line, its label after a tab"
        )
    if is_open and is_text(widths, sentences, values, known):
        if is_test:
            return Layout("sentences")
        raise ValueError(
            f"{path}: this looks like a sentence per line, and not a word and its label: name the columns with "
            "--word_column and --label_column"
        )
    same = previous is not None and (previous.kind, previous.width) == (layout.kind, width)
    if same and not (word_column or label_column):
        return layout._replace(word=previous.word, label=previous.label, attribute=previous.attribute)
    layout = choose_columns(path, layout, values, word_column, label_column)
    is_unknown = is_test and known and layout.label is not None and not is_known(values[layout.label], known)
    return layout._replace(label=None) if is_unknown and label_column is None else layout


def have_numbers(rows: list[list[str]], width: int, columns: Sequence[int]) -> bool:
    """Return whether rows have at least so many columns, and numbers in some of them."""
    return bool(rows) and all(len(row) >= width and all(row[n].isdecimal() for n in columns) for row in rows)


def split_line(line: str, has_tabs: bool) -> list[str]:
    """Return the columns of a line; none for a line that separates sentences. No-break spaces belong to words."""
    if not line.strip():
        return []
    if has_tabs:
        return line.split("\t")
    columns = re.findall(r"[^ \t\r\f\v]+", line)
    return ["", *columns] if line[0] in " \t" and len(columns) == 1 else columns


def blocks(rows: Iterable[Line]) -> Iterator[list[Line]]:
    """Yield the lines between those that separate sentences; a block may be empty."""
    block: list[Line] = []
    for number, columns in rows:
        if columns and "-DOCSTART-" not in columns:
            block.append((number, columns))
        else:
            yield block
            block = []
    yield block


def is_numbered(block: list[Line]) -> bool:
    """Return whether the first column counts the words of a sentence, from 0 or from 1."""
    numbers = [columns[0] for _, columns in block if not RANGE.fullmatch(columns[0])]
    counts = range(len(numbers)), range(1, len(numbers) + 1)
    return any(numbers == [*map(str, count)] for count in counts)


def hold_sentences(cells: list[list[str]]) -> bool:
    """Return whether rows of two cells hold a sentence and as many labels each."""
    lengths = [[len(cell.strip().split(" ")) for cell in row] for row in cells]
    return all(words == labels for words, labels in lengths) and any(words > 1 for words, _ in lengths)


def is_text(
    widths: Counter[int], sentences: list[list[Line]], values: list[Counter[str]], known: Collection[str]
) -> bool:
    """Return whether lines are sentences: they have no columns, or no column holds labels of the model or entities."""
    if max(widths.values()) < 0.8 * widths.total():
        return sum(width * count for width, count in widths.items()) >= 4 * widths.total()
    is_listed = all(len(block) == 1 for block in sentences) or len(sentences) == 1
    has_labels = any(is_known(column, known) if known else looks_like_entities(column) for column in values)
    return is_listed and not has_labels and len(values) > (2 if known else 4)


def choose_columns(
    path: str, layout: Layout, values: list[Counter[str]], word_column: str | None, label_column: str | None
) -> Layout:
    """Return the layout with the columns of words and labels: those given, those of the format, or by the values."""
    names, width = [name.lower() for name in layout.names], layout.width
    attribute = find_attribute(values[-1], label_column) if names[-1:] == ["misc"] else None
    if width == 1:
        label_column = None
    word = find_number(path, layout, "--word_column", word_column)
    label = find_number(path, layout, "--label_column", label_column if attribute is None else "misc")
    if word is None and names:
        word = next((column for column, name in enumerate(names) if name in WORD_NAMES), None)
    if label is None and layout.kind == "CoNLL-U":
        label = names.index("upos") if layout.names is CONLLU else width - 1
    entities = [column for column in range(width) if looks_like_entities(values[column])]
    if word is None:
        word = 1 if layout.is_numbered else 0
        if label is None and entities == [word] and width > 2:
            raise ValueError(f"{path}: column {word} looks like labels; name the column of words with --word_column")
        if width == 2 and (label == word or (label is None and entities == [word])):  # labels go first
            word, label = 1 - word, word
        check_words(path, values, word, {label, *entities})
    ignored = ()
    if label is None:
        entities = [column for column in entities if column != word]
        types = {column: {label.type for label in map(parse_label, values[column]) if label} for column in entities}
        entities = [column for column in entities if types[column] - {""} - CHUNKS] or entities
        label, ignored = choose_label(path, layout, values, word, entities), entities[1:]
    return layout._replace(word=word, label=label, attribute=attribute, ignored=ignored)


def check_words(path: str, values: list[Counter[str]], word: int, labels: set[int | None]):
    """Refuse words that are few beside the texts of another column, as parts of speech and names of files are."""
    others = [column for column in range(len(values)) if column != word and column not in labels]
    for other in others if len(values) > 2 and values[word].total() >= 8 else ():
        texts = [value for value in values[other] if value[:1].isalpha()]
        if len(texts) >= 2 * len(values[word]):
            raise ValueError(
                f"{path}: column {word} has {len(values[word])} different values, and column {other} {len(texts)}: "
                "name the column of words with --word_column"
            )


def find_number(path: str, layout: Layout, option: str, column: str | None) -> int | None:
    """Return the number of a column that the user gave by number or by name."""
    names, last = [name.lower() for name in layout.names], layout.width - 1
    if column is None or column.lower() in names:
        return None if column is None else names.index(column.lower())
    if not re.fullmatch(r"-?\d+", column):
        have = f"one of {', '.join(layout.names)} or a number" if names else "a number"
        raise ValueError(f"{path}: {option} must be {have} in a file with a word per line, from 0, but is {column!r}")
    if not -layout.width <= int(column) <= last:
        raise ValueError(f"{path}: {option} {column}, but its lines have {layout.width} columns, 0 to {last}")
    return int(column) % layout.width


def choose_label(path: str, layout: Layout, values: list[Counter[str]], word: int, entities: list[int]) -> int | None:
    """Return the column of labels: that of entities, the first of several after running numbers, or the last."""
    if len(entities) > 1 and not layout.is_numbered:
        columns = ", ".join(map(str, entities))
        raise ValueError(f"{path}: columns {columns} all look like labels: choose with --label_column")
    last = layout.width - 1
    if entities or last == word:
        return entities[0] if entities else None  # nested entities follow in further columns (GermEval)
    rows, words, labels = values[word].total(), len(values[word]), len(values[last])
    if rows >= 8 and (labels >= 2 * words or labels > max(50, rows / 2)):
        raise ValueError(
            f"{path}: column {last}, the last, has {labels} different values in {rows} lines, and column {word} has "
            f"{words}: name the columns of words and labels with --word_column and --label_column"
            f"{f', as in --word_column {last} --label_column {word} where labels go first' if last == 1 else ''}"
        )
    return last


def read_label(name: str) -> Label | None:
    """Read a label of an entity scheme, whatever sign joins position and type, also with positions like `BEGIN-PER`."""
    name = re.sub(r"(?i)^(b|i|m|l|e|u|s)(?:egin|nside|iddle|ast|nd|nit|ingle)(?=[-_:])", r"\1", name)
    return parse_label(name) or parse_label(re.sub(r"[:/.|+]", "-", name))


def looks_like_entities(values: Counter[str]) -> bool:
    """Return whether most of the values mark entities."""
    inside = {value: count for value, count in values.items() if value not in OUTSIDE}
    labels = {value: label for value in inside if (label := read_label(value))}
    is_begun = any(label.letter in "BIU" for label in labels.values())
    return is_begun and sum(inside[value] for value in labels) >= 0.8 * sum(inside.values())


def find_attribute(misc: Counter[str], wanted: str | None) -> str | None:
    """Return the attribute of MISC that the user named, or one with values that mark entities."""
    found: dict[str, Counter[str]] = {}
    for value, count in misc.items():
        for key, content in attributes(value).items():
            found.setdefault(key, Counter())[content] += count
    if wanted is not None:
        return wanted if wanted in found else None
    return next((key for key, contents in found.items() if looks_like_entities(contents)), None)


def attributes(misc: str) -> dict[str, str]:
    """Return the attributes in a cell of MISC, `name=B-PER|SpaceAfter=No`; a value without a name has the name `""`."""
    parts = (part.partition("=") for part in misc.split("|"))
    return {key if equals else "": content if equals else key for key, equals, content in parts}


def is_known(values: Counter[str], known: Collection[str]) -> bool:
    """Return whether the model knows most of these labels, or their types of entities."""
    types = {label.type for label in map(parse_label, known) if label and label.type}
    read = ((count, value, parse_label(value)) for value, count in values.items())
    found = sum(count for count, value, label in read if value in known or (label and label.type in types))
    return 2 * found >= values.total()


# ---- Reading


class WordLines(NamedTuple):
    """Words of a sentence, their labels (`None` without) and the numbers of their lines."""

    words: list[str]
    labels: list[str] | None
    lines: list[int]


def read_word_lines(path: str, layout: Layout) -> Iterator[WordLines]:
    """Yield the sentences of a file.

    `ValueError` with file and line, if a line has another number of columns than the others, or no label.
    """
    rows: list[Line] = []
    for number, line in chain(numbered_lines(path), [(0, "")]):
        columns = split_line(line, layout.has_tabs)
        if layout.kind == "sentences":
            if columns:
                yield WordLines(columns, None, [number] * len(columns))
        elif not columns or "-DOCSTART-" in columns:
            if rows := [row for row in rows if not (layout.is_numbered and RANGE.fullmatch(row[1][0]))]:
                yield read_sentence(path, rows, layout)
            rows = []
        elif number == layout.header or is_comment(line, columns, layout, not rows):
            continue
        elif len(columns) == layout.width or (layout.kind in OPEN and len(columns) > layout.width):
            rows.append((number, columns))
        elif len(columns) == layout.width - 1 and not layout.has_tabs and line[0] in " \t":
            rows.append((number, ["", *columns]))
        else:
            raise ValueError(
                f"{path}, line {number}: {len(columns)} columns where the file has {layout.width}"
                f"{', separated by tabs' if layout.has_tabs else ''}: {' '.join(columns)[:60]!r}"
            )


def is_comment(line: str, columns: list[str], layout: Layout, is_first: bool) -> bool:
    """Return whether a line is a comment. A `#` with all columns is a word, unless it goes on as comments do."""
    if layout.is_numbered or layout.kind == "CoNLL-2012":
        return line.startswith("#")
    return is_first and line.startswith("#") and (len(columns) != layout.width or bool(COMMENT.match(line)))


def read_sentence(path: str, rows: list[Line], layout: Layout) -> WordLines:
    labels = None
    if layout.kind == "CoNLL-2012" and layout.label == CONLL2012.index("ner"):
        cells = [columns[layout.label] for _, columns in rows]
        cells = [cell if "*" in cell else cell.replace(")", "*)") for cell in cells]  # (GPE) as (GPE*)
        labels = labels_of_brackets(cells, [Place(path, number) for number, _ in rows], "entities")
    elif layout.label is not None:
        labels = [columns[layout.label].strip() for _, columns in rows]
        if layout.attribute is not None:  # a word without it is outside of entities
            labels = [attributes(label).get(layout.attribute, "O") for label in labels]
        if "" in labels:
            raise ValueError(f"{path}, line {rows[labels.index('')][0]}: there is no label in column {layout.label}")
    words = [columns[layout.word].strip(" \t\r") for _, columns in rows]
    return WordLines(words, labels, [number for number, _ in rows])


def labels_of_brackets(cells: Sequence[str], places: Sequence[Place], what: str) -> list[str]:
    """Return BIO labels of what is enclosed in brackets: `(A0*`, `*`, `*)`, `(V*)`, and for a word by itself `(A0)`."""
    labels, name, first = [], None, places[0]
    for cell, place in zip(cells, places):
        found = BRACKETS.fullmatch(cell)
        if found is None or (found[1] and name) or (found[2] and not (found[1] or name)):
            raise ValueError(f"{place}: {what} must be bracketed one by one, (TYPE*, * and *), but are {cell!r}")
        if found[1]:
            name, first = found[1], place
            labels.append(f"B-{name}")
        else:
            labels.append(f"I-{name}" if name else "O")
        name = None if found[2] else name
    if name:
        raise ValueError(f"{first}: {name} begins here, but does not end in its sentence")
    return labels


# ---- Writing


Labeled = tuple[Sequence[str], Sequence[str] | None, Sequence[str], Sequence[int] | None]


def conll_blocks(sentences: Iterable[Labeled]) -> Iterator[str]:
    """Yield, sentence by sentence, words, right labels (if they are known) and predicted labels in columns separated by
    blanks, for conlleval.

    White space inside a word becomes `_`, and so does an empty word. Each word stands in the line that it has in the
    file it was read from; lines of that file that are no words are empty. Only the ranges and empty nodes of CoNLL-U,
    which stand inside sentences, have no line.

    Args:
        sentences: Words, right labels, predicted labels and line numbers of each sentence. Without line numbers, an
            empty line follows each sentence.
    """
    written = dropped = 0  # lines written; lines inside sentences that are no words
    for words, labels, predicted, lines in sentences:
        gap = 0
        if lines:
            gap = lines[0] - 1 - dropped - written
            written += gap + len(words)
            dropped += lines[-1] + 1 - lines[0] - len(words)
        columns = zip(words, *([] if labels is None else [labels]), predicted)
        rows = [" ".join(map(one_word, row)) + "\n" for row in columns]
        yield "".join(["\n" * gap, *rows, *([] if lines else ["\n"])])
    if written:
        yield "\n"
