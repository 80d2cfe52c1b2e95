"""Vocabulary, corpus and streams of language-model training, in the layout of bilm-tf."""

import gzip
import json
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from hf_elmo.model.character_ids_elmo import read_word_vocabulary, write_word_vocabulary
from hf_elmo.training.language_model.corpus import DatasetTexts, SentenceQueue, TextFiles, build_vocabulary, count_words
from hf_elmo.training.language_model.streams import Streams, Window, WordTable
from hf_elmo.word_vocabulary import read_unique_words


@pytest.fixture
def corpus(tmp_path):
    """Three files of 7, 4 and 9 sentences; word `f.s.w` is word w of sentence s of file f."""
    for file, count in enumerate((7, 4, 9)):
        lines = [" ".join(f"{file}.{s}.{w}" for w in range(1 + (3 * s + file) % 5)) for s in range(count)]
        (tmp_path / f"{file}.txt").write_text("\n\n".join(lines) + "\n")
    return TextFiles([str(tmp_path / "*.txt")])


# ---- Vocabulary


@pytest.mark.parametrize("ending", ["", "\n", "\r\n\r\n\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_vocabulary_of_any_make(tmp_path, line_end, mark, ending):
    words = ["<S>", "</S>", "<UNK>", "the", "\u00e9t\u00e9", "x\u2028y"]
    (tmp_path / "vocab.txt").write_bytes((mark + line_end.join(words) + ending).encode())
    assert read_unique_words(tmp_path / "vocab.txt") == words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<S>\n</S>\n\n<UNK>\nthe\n", "line 3: empty"),
        ("<S>\n</S>\n<UNK>\n \t\nthe\n", "line 4: empty"),
        ("<S>\n</S>\n<UNK>\nthe\na\nthe\n", "line 6: 'the' again, which is also in line 4"),
        ("</S>\n<UNK>\nthe\n", "lacks <S>"),
        ("<S>\n</S>\nthe\n", "lacks <UNK>"),
        ("", "lacks <S>, </S>, <UNK>"),
        (b"<S>\n</S>\n<UNK>\n\xff\n", "line 4: not UTF-8"),
    ],
)
def test_vocabulary_refused(tmp_path, text, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as error:
        read_unique_words(path)
    assert str(path) in str(error.value)


def test_vocabulary_is_sorted_by_frequency_then_characters(tmp_path):
    counts = Counter({"b": 2, "a": 2, "c": 5, "<UNK>": 9, "rare": 1})
    assert build_vocabulary(counts) == ["<S>", "</S>", "<UNK>", "c", "a", "b", "rare"]
    assert build_vocabulary(counts, min_count=2) == ["<S>", "</S>", "<UNK>", "c", "a", "b"]
    assert build_vocabulary(counts, max_size=4) == ["<S>", "</S>", "<UNK>", "c"]
    write_word_vocabulary(build_vocabulary(counts), tmp_path / "vocab.txt")
    assert read_word_vocabulary(tmp_path / "vocab.txt") == build_vocabulary(counts)


# ---- Corpus


def test_files_and_datasets_give_the_same_sentences(tmp_path, corpus):
    sentences = [line.split() for shard in corpus.shards for line in corpus.sentences(shard)]
    assert len(sentences) == 20
    assert [len(words) for words in sentences[:4]] == [1, 4, 2, 5]

    folder = tmp_path / "gz"
    folder.mkdir()
    for shard in corpus.shards:
        name = shard.rsplit("/", 1)[1]
        (folder / f"{name}.gz").write_bytes(gzip.compress(Path(shard).read_bytes()))
    texts = Dataset.from_dict({"text": [Path(shard).read_text() for shard in corpus.shards], "other": [1, 2, 3]})
    lists = Dataset.from_dict({"tokens": sentences})
    for other in (
        TextFiles([str(tmp_path / "gz" / "**" / "*.gz")]),
        DatasetTexts(texts),
        DatasetTexts(texts.to_iterable_dataset()),
        DatasetTexts(lists, "tokens"),
    ):
        assert [line.split() for shard in other.shards for line in other.sentences(shard)] == sentences
        statistics = count_words(other)
        assert statistics.counts == Counter(word for words in sentences for word in words)
        assert (statistics.num_sentences, statistics.num_words) == (20, sum(map(len, sentences)))
        assert statistics.first_sentence == sentences[0]
        assert statistics.digest == count_words(corpus).digest


def test_texts_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\*.txt: no such file, and no file matches"):
        TextFiles([str(tmp_path / "nowhere*.txt")])
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"one\ntwo\n\xe9t\xe9\n")
    with pytest.raises(ValueError, match=r"latin.txt, line 3: not UTF-8"):
        count_words(TextFiles([str(latin)]))
    broken = tmp_path / "broken.txt.gz"
    for content in (b"no gzip", gzip.compress(b"one two\n" * 1000)[:-9]):
        broken.write_bytes(content)
        with pytest.raises(ValueError, match=r"broken.txt.gz: not a complete gzip file"):
            count_words(TextFiles([str(broken)]))
    with pytest.raises(ValueError, match="no column 'text', only words"):
        DatasetTexts(Dataset.from_dict({"words": ["a"]}))
    with pytest.raises(ValueError, match="row 0 of the dataset: 'text' must be a text or a list of words"):
        count_words(DatasetTexts(Dataset.from_dict({"text": [3]})))


@pytest.mark.parametrize("content", ["", "\n \n\t\n"])
def test_an_empty_text_is_said_to_be_empty(tmp_path, content):
    (tmp_path / "empty.txt").write_text(content)
    with pytest.raises(ValueError, match=r"there is no sentence in .*empty.txt"):
        next(SentenceQueue(TextFiles([str(tmp_path / "empty.txt")])))


def test_a_pass_has_every_sentence_once_in_a_new_order(corpus):
    in_order = list(islice(SentenceQueue(corpus), 40))
    assert in_order[:20] == in_order[20:]
    queue = SentenceQueue(corpus, seed="s", block_size=3)
    passes = [list(islice(queue, 20)) for _ in range(3)]
    for sentences in passes:
        assert sorted(sentences) == sorted(in_order[:20])
    assert passes[0] != passes[1] != passes[2] != in_order[:20]
    files = [words[0][0] for words in islice(SentenceQueue(corpus, seed="s"), 10)]
    assert set(files) == {"0", "1", "2"}, "small shards are not mixed"
    again, other = (list(islice(SentenceQueue(corpus, seed, block_size=3), 20)) for seed in ("s", "t"))
    assert again == passes[0] != other


@pytest.mark.parametrize("seed", [None, "s"])
def test_a_saved_position_continues_with_the_next_sentence(corpus, seed):
    queue = SentenceQueue(corpus, seed, block_size=3)
    expected = list(islice(SentenceQueue(corpus, seed, block_size=3), 70))
    for place in range(45):
        resumed = SentenceQueue(corpus, seed, block_size=3)
        resumed.restore(json.loads(json.dumps(queue.position)))
        assert list(islice(resumed, 25)) == expected[place : place + 25]
        assert next(queue) == expected[place]


# ---- Streams


def test_windows_are_the_originals(fixtures_dir):
    folder = fixtures_dir / "bilm_checkpoint"
    corpus = TextFiles([str(folder / "training_trace" / "text.txt")])
    table = WordTable(spelled, read_word_vocabulary(folder / "vocab.txt"))
    directions = {"": Streams(SentenceQueue(corpus), 8), "_reverse": Streams(SentenceQueue(corpus), 8, backward=True)}
    with np.load(folder / "training_trace" / "first_batches.npz") as expected:
        for batch in range(3):
            for suffix, streams in directions.items():
                window = streams.window(20)
                characters, ids = looked_up(table, window.inputs)
                for name, actual in (
                    ("tokens_characters", characters - 1),  # the original counts from 0 in training
                    ("token_ids", ids),
                    ("next_token_id", looked_up(table, window.targets)[1]),
                ):
                    assert (actual == expected[f"batch{batch}/{name}{suffix}"]).all(), (batch, name, suffix)


def test_rows_continue_where_they_stopped(corpus):
    """Two rows, one word at a time, by hand; the last token of a sentence is never an input."""
    streams = Streams(iter([["a", "b"], ["c"], ["d"]]), 2)
    windows = [streams.window(1) for _ in range(3)]
    assert [window.inputs for window in windows] == [[["<S>"], ["<S>"]], [["a"], ["c"]], [["b"], ["<S>"]]]
    assert [window.targets for window in windows] == [[["a"], ["c"]], [["b"], ["</S>"]], [["</S>"], ["d"]]]
    with pytest.raises(StopIteration):
        streams.window(1)
    backward = Streams(iter([["a", "b"]]), 1, backward=True).window(3)
    assert backward == ([["</S>", "b", "a"]], [["b", "a", "<S>"]])
    # Rows get their sentences one after the other, so a wide window gives the first row more of them.
    wide = Streams(SentenceQueue(corpus), 2).window(12)
    assert wide.inputs[0][:4] == ["<S>", "0.0.0", "<S>", "0.1.0"]


def test_a_line_of_100000_words_is_cut_into_windows():
    words = [str(number) for number in range(100_000)]
    streams = Streams(iter([words, ["x"]]), 1)
    windows = [streams.window(997) for _ in range(100)]
    assert [word for window in windows for word in window.targets[0]] == words[:99_700]


def test_saved_streams_continue(corpus):
    streams = Streams(SentenceQueue(corpus, "s"), 3, backward=True)
    for _ in range(9):
        streams.window(5)
    saved = json.loads(json.dumps([streams.state(), streams.sentences.position]))
    expected = [streams.window(5) for _ in range(20)]
    resumed = Streams(SentenceQueue(corpus, "s"), 3, backward=True)
    resumed.restore(saved[0])
    resumed.sentences.restore(saved[1])
    assert [resumed.window(5) for _ in range(20)] == expected


def test_word_table_encodes_each_word_once_and_is_emptied_when_full():
    asked = []

    def spell(words):
        asked.extend(words)
        return spelled(words)

    table = WordTable(spell, ["<S>", "</S>", "<UNK>", "b"], max_words=4)
    first, _ = looked_up(table, [["a", "b"], ["b", "a"]])
    assert asked == ["a", "b"]
    assert first.shape == (2, 2, 50)
    assert (first == np.stack([spelled(["a", "b"]), spelled(["b", "a"])])).all()
    looked_up(table, [["a", "c"], ["d", "e"]])
    assert asked == ["a", "b", "c", "d", "e"]
    assert (looked_up(table, [["a"]])[0] == spelled(["a"])).all()
    assert asked[-1] == "a"
    assert looked_up(table, [["a", "b", "<S>"]])[1].tolist() == [[2, 3, 0]]


def looked_up(table, words):
    """Return the rows of characters and the ids of words, as batches hold them."""
    batch = table.batch(Window(words, words), Window(words, words))
    return batch["input_ids"].numpy(), batch["labels"][:, 0].numpy()


def spelled(words):
    """Return rows of character ids by the definition of the format, independent of the tokenizer."""
    rows = np.full((len(words), 50), 261)
    for row, word in zip(rows, words):
        characters = {"<S>": [257], "</S>": [258]}.get(word) or [byte + 1 for byte in word.encode()[:48]]
        row[: len(characters) + 2] = [259, *characters, 260]
    return rows
