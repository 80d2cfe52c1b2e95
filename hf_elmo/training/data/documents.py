"""Documents with clusters of mentions: CoNLL-2012 files, tables of JSON, datasets, and the pronouns of GAP.

CoNLL-2012  a word per line; its document first, its part second, the word fourth, and last the brackets of mentions,
            `(12`, `12)` or `(12)`, joined by `|`; `-`, `_`, `*` or nothing where there are none
JSON        a document per line: `sentences`, lists of words, `clusters`, lists of mentions `[first, last]`, both
            counted over the whole document, from 0, and `doc_key`
GAP         a `.tsv` with a text, a pronoun and two names per row (Webster et al. 2018), for tests only
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa
from datasets import Dataset

from ...model.word_splitting_elmo import splitting_rule
from ...text_files import Place, columns_of, numbered_lines, one_word
from .splits import Reader, Splits, values
from .tables import Row, find_column, identifier_of, is_table, peek

BEGIN = re.compile(r"#\s*begin document\s+\(?(.*?)\)?(?:;\s*part\s*(\S+))?\s*$")
BRACKET = re.compile(r"(\()?([^()|\s]+)(\))?")
NO_MENTION = {"", "-", "_", "*"}
WORD_COLUMN = 3
GAP_COLUMNS = "ID Text Pronoun Pronoun-offset A A-offset A-coref B B-offset B-coref".split()
CLOSING = r"""["'\u201d\u2019\xbb)\]]+"""
IDENTIFIERS = ("doc_key", "id", "doc_id", "document_id", "name")
SPANS = pa.list_(pa.int32())
SCHEMA = pa.schema(
    {
        **dict.fromkeys(("id", "part", "source"), pa.string()),
        "sentences": pa.list_(pa.list_(pa.string())),
        "clusters": pa.list_(pa.list_(SPANS)),
        "pronoun": pa.struct(
            {"text": pa.string(), **dict.fromkeys("pab", SPANS), "is_a": pa.bool_(), "is_b": pa.bool_()}
        ),
    }
)


def read_documents(arguments: Any) -> Splits:
    """Read documents with clusters of mentions. Errors as of `Reader.read`.

    Examples have the columns `id`, `part` (of CoNLL-2012), `sentences`, `clusters` (of `[first, last]` words, counted
    over the document; `None` if they are not known), `pronoun` (of GAP, else `None`: its `text`, the words of it, `p`,
    and of both names, `a` and `b`, and whether it means them, `is_a` and `is_b`) and `source`.
    """
    return DocumentReader(arguments).read()


class DocumentReader(Reader):
    unit, schema = "document", SCHEMA

    def read_file(self, path: str, split: str) -> Iterable[dict]:
        return super().read_file(path, split) if is_table(path) else self.read_conll(path, split)

    def problem(self, example: dict, split: str) -> str | None:
        if not any(example["sentences"]):
            return "documents without words"
        return "documents without clusters" if split != "test" and example.get("clusters") is None else None

    def finish(self, examples: dict[str, Dataset]) -> None:
        for split, dataset in examples.items():
            clusters = [cluster for document in values(dataset, "clusters") for cluster in document or ()]
            words = sum(len(words) for sentences in values(dataset, "sentences") for words in sentences)
            singletons = sum(len(cluster) == 1 for cluster in clusters)
            mentions = sum(map(len, clusters))
            if not mentions and split != "test":
                raise ValueError(f"{dataset[0]['source']}: no document for {split} has a mention")
            self.understood.notes.append(
                f"{split}: {words:,} words, {mentions:,} mentions in {len(clusters):,} clusters, {singletons:,} of "
                "them of one mention"
            )

    def shown(self, example: dict) -> str:
        return " ".join(word for words in example["sentences"] for word in words)[:200]

    # ---- CoNLL-2012

    def read_conll(self, path: str, split: str) -> Iterator[dict]:
        self.understood.record(split, "CoNLL-2012", words="column 3", mentions="the last column")
        is_known = split != "test" or any(has_mention(line) for _, line in numbered_lines(path))
        document: dict | None = None
        clusters: dict[str, list[list[int]]] = {}
        rows: list[tuple[Place, list[str]]] = []  # the lines of a sentence
        for number, line in chain(numbered_lines(path), [(0, "#end document")]):
            place, begin = Place(path, number), BEGIN.match(line)
            is_end = begin or (line.startswith("#") and "end document" in line[:20])
            if is_end or not line.strip():
                if rows:
                    add_sentence(document["sentences"], clusters, rows)
                rows = []
                if is_end and document is not None:
                    yield document | {"clusters": [*map(sorted, clusters.values())] if is_known else None}
                if begin:
                    document = {"id": begin[1], "part": begin[2], "sentences": [], "source": str(place)}
                elif is_end:
                    document = None
                clusters = {} if is_end else clusters
            elif document is not None and not line.startswith("#begin"):
                rows.append((place, columns_of(line)))
            elif not line.startswith("#"):
                raise ValueError(f"{place}: expected `#begin document (NAME); part 000`, but found {line[:60]!r}")

    # ---- Tables and datasets

    def read_rows(self, rows: Iterable[Row], split: str) -> Iterator[dict]:
        head, names, rows = peek(rows)
        if not head:
            return
        place = head[0][0]
        if "Pronoun-offset" in names:
            yield from self.read_gap(rows, names, place, split)
            return
        sentences = find_column(names, None, ("sentences",), place)
        clusters = find_column(names, None, ("clusters", "coref_clusters"), place, needed=split != "test")
        identifier = find_column(names, None, IDENTIFIERS, place, needed=False)
        self.understood.record(split, "a table", words=sentences, mentions=clusters)
        for place, row in rows:
            words = row.get(sentences)
            if not is_list_of_lists(words, str):
                raise ValueError(f"{place}: {sentences} must be a list of lists of words, but is {words!r:.60}")
            found = None if row.get(clusters) is None else read_clusters(row[clusters], words, place)
            id = identifier_of(row, identifier, place)
            yield {"id": id, "sentences": words, "clusters": found, "source": str(place)}

    def read_gap(self, rows: Iterable[Row], names: Sequence[str], place: Place, split: str) -> Iterator[dict]:
        if split != "test":
            raise ValueError(f"{place}: GAP has pronouns and names, but no clusters: give it as --test_file")
        missing = [name for name in GAP_COLUMNS if name not in names and not name.endswith("coref")]
        if missing:
            raise ValueError(f"{place}: there is no column {missing[0]!r}, which GAP has, only {', '.join(names)}")
        self.understood.record(split, "GAP", words="Text", mentions="Pronoun, A, B")
        for place, row in rows:
            words = list(splitting_rule("treebank").finditer(str(row["Text"])))
            offsets = [word.span() for word in words]
            sentences = group_sentences([word.group() for word in words], offsets)
            spans = {key: words_at(row, name, offsets, place) for key, name in zip("pab", ("Pronoun", "A", "B"))}
            answers = {f"is_{key.lower()}": truth(row.get(f"{key}-coref"), place) for key in "AB"}
            pronoun = {"text": str(row["Pronoun"]), **spans, **answers}
            yield {"id": str(row["ID"]), "sentences": sentences, "pronoun": pronoun, "source": str(place)}


def add_sentence(
    sentences: list[list[str]], clusters: dict[str, list[list[int]]], rows: list[tuple[Place, list[str]]]
) -> None:
    """Add the words of a sentence of CoNLL-2012 to those of its document, and its mentions to their clusters.

    `ValueError` if a line has no word, or brackets that are not those of mentions.
    """
    begun: dict[str, list[tuple[int, Place]]] = {}  # mentions that have not ended, by cluster
    seen: set[tuple[int, int]] = set()
    for word, (place, columns) in enumerate(rows, start=sum(map(len, sentences))):
        if len(columns) <= WORD_COLUMN + 1:
            raise ValueError(
                f"{place}: {len(columns)} columns; a line must have document, part, number, word, and last the "
                f"brackets of mentions: {' '.join(columns)[:60]!r}"
            )
        cell = columns[-1].strip()
        for bracket in [] if cell in NO_MENTION else cell.split("|"):
            found = BRACKET.fullmatch(bracket)
            if found is None or not (found[1] or found[3]):
                raise ValueError(f"{place}: mentions must be (12), (12 or 12), joined by |, but are {cell!r}")
            begins, cluster, ends = found.groups()
            if begins:
                begun.setdefault(cluster, []).append((word, place))
            if ends:
                if not begun.get(cluster):
                    raise ValueError(f"{place}: a mention of {cluster} ends here, but has not begun in its sentence")
                span = begun[cluster].pop()[0], word
                if span in seen:
                    raise ValueError(
                        f"{place}: two mentions have the same words, of which one is of {cluster}: remove one"
                    )
                seen.add(span)
                clusters.setdefault(cluster, []).append([*span])
    for cluster, mentions in begun.items():
        if mentions:
            raise ValueError(f"{mentions[0][1]}: a mention of {cluster} begins here, but does not end in its sentence")
    sentences.append([columns[WORD_COLUMN] for _, columns in rows])


def has_mention(line: str) -> bool:
    """Return whether the last column of a line has brackets."""
    columns = columns_of(line)
    return len(columns) > WORD_COLUMN + 1 and not line.startswith("#") and bool(re.search("[()]", columns[-1]))


def is_list_of_lists(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, list) and all(type(one) is kind for one in row) for row in value
    )


def read_clusters(clusters: Any, sentences: list[list[str]], place: Place) -> list[list[list[int]]]:
    """Return the clusters of a row of JSON.

    `ValueError` if they are not lists of mentions of two words of one sentence, or a mention occurs twice.
    """
    if not isinstance(clusters, list) or not all(is_list_of_lists(cluster, int) for cluster in clusters):
        raise ValueError(f"{place}: clusters must be lists of mentions [first, last], but are {clusters!r:.60}")
    sentence_of = [number for number, words in enumerate(sentences) for _ in words]
    seen = set()
    for mention in (mention for cluster in clusters for mention in cluster):
        if len(mention) != 2 or not 0 <= mention[0] <= mention[1] < len(sentence_of):
            raise ValueError(
                f"{place}: a mention must be [first, last], words from 0 to {len(sentence_of) - 1}, but is {mention}"
            )
        if sentence_of[mention[0]] != sentence_of[mention[1]]:
            raise ValueError(f"{place}: the mention {mention} goes beyond its sentence")
        if tuple(mention) in seen:
            raise ValueError(f"{place}: the mention {mention} occurs twice")
        seen.add(tuple(mention))
    return [sorted(cluster) for cluster in clusters if cluster]


# ---- GAP


def group_sentences(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[list[str]]:
    """Return the sentences of a text of words.

    A sentence ends behind `.`, `!` or `?` and the quotes and brackets that are attached to it.
    """
    sentences: list[list[str]] = [[]]
    is_over, end = False, 0
    for word, (first, after) in zip(words, offsets):
        if is_over and not (first == end and re.fullmatch(CLOSING, word)):
            sentences.append([])
            is_over = False
        is_over = is_over or word in (".", "!", "?")
        sentences[-1].append(word)
        end = after
    return sentences


def words_at(row: dict, name: str, offsets: Sequence[tuple[int, int]], place: Place) -> list[int]:
    """Return the first and the last word of a name or pronoun in a row of GAP."""
    text, offset = str(row["Text"]), str(row[f"{name}-offset"])
    if not offset.isdecimal() or not text.startswith(str(row[name]), int(offset)):
        raise ValueError(f"{place}: the text does not have {row[name]!r} at {name}-offset {offset}")
    first, end = int(offset), int(offset) + len(str(row[name]))
    inside = [number for number, (start, stop) in enumerate(offsets) if start < end and stop > first]
    if not inside:
        raise ValueError(f"{place}: {name} is empty")
    return [inside[0], inside[-1]]


def truth(cell: Any, place: Place) -> bool | None:
    """Return whether a cell says TRUE or FALSE; None without a cell."""
    if cell is None:
        return None
    if str(cell).lower() not in ("true", "false"):
        raise ValueError(f"{place}: whether a pronoun means a name must be TRUE or FALSE, but is {cell!r}")
    return str(cell).lower() == "true"


# ---- Parts of documents


def split_documents(documents: Dataset, max_words: int) -> Dataset:
    """Return documents cut at the ends of sentences into parts of at most `max_words` words, or of one sentence."""
    parts = [part for document in documents for part in parts_of(document, max_words)]
    return Dataset(pa.Table.from_pylist(parts, schema=SCHEMA))


def parts_of(document: dict, max_words: int) -> Iterator[dict]:
    sentences, first, count = [], 0, 0
    for words in [*document["sentences"], None]:
        if sentences and (words is None or count + len(words) > max_words):
            clusters = [
                [[mention[0] - first, mention[1] - first] for mention in cluster if first <= mention[0] < first + count]
                for cluster in document["clusters"]
            ]
            yield document | {"sentences": sentences, "clusters": [cluster for cluster in clusters if cluster]}
            first, sentences, count = first + count, [], 0
        if words is not None:
            sentences.append(words)
            count += len(words)


# ---- Writing


def document_lines(name: str, part: str | None, sentences: Sequence[Sequence[str]], clusters: list) -> Iterator[str]:
    """Yield the lines of one document."""
    cells, part = brackets(clusters), part or "000"
    yield f"#begin document ({name}); part {part}\n"
    place = 0
    for words in sentences:
        for number, word in enumerate(words):
            yield "\t".join([name, part, str(number), one_word(word), cells.get(place, "-")]) + "\n"
            place += 1
        yield "\n"
    yield "#end document\n"


def brackets(clusters: Sequence[Sequence[Sequence[int]]]) -> dict[int, str]:
    """Return the brackets at each word where a mention begins or ends, as CoNLL-2012 has them.

    At a word, first mentions begin, the longest before the others; then stand those of one word; then mentions end, of
    which the one that began last is the first.
    """
    cells: dict[int, list[tuple[int, int, str]]] = {}  # order and text of the brackets at each word
    for number, cluster in enumerate(clusters):
        for first, last in cluster:
            if first == last:
                cells.setdefault(first, []).append((1, number, f"({number})"))
            else:
                cells.setdefault(first, []).append((0, -last, f"({number}"))
                cells.setdefault(last, []).append((2, -first, f"{number})"))
    return {place: "|".join(text for *_, text in sorted(found)) for place, found in cells.items()}
