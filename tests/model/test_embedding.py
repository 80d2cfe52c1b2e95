"""Corpus-scale inference: each sentence's own vectors, in order, whatever the batches, the cache and the processes."""

import itertools
import os
import subprocess
import threading
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from fresh_process import forking_python, two_processes
from lanes import first_fast
from shaken import shake
from torch.testing import assert_close

from hf_elmo import ElmoConfig, ElmoForTokenClassification, ElmoInt8Config, ElmoModel, ElmoTokenizer, embedding
from hf_elmo.embedding import WordVectorCache, embed_sentences, make_batches, read_rounds
from hf_elmo.model.lstm_elmo import last_lstm_path

EXACT = {"rtol": 0, "atol": 1e-6}
SMALL = {"words_per_batch": 20, "batches_per_window": 2}  # several windows of several batches


@pytest.fixture
def tokenizer():
    return ElmoTokenizer()


def made_up_sentences(count: int, seed: int = 0) -> list[list[str]]:
    """Sentences of 0 to 30 words out of a hundred."""
    random = np.random.default_rng(seed)
    types = ["".join(random.choice(list("etaoin"), 1 + length)) for length in random.poisson(4, 100)]
    return [[types[word] for word in random.integers(0, 100, length)] for length in random.integers(0, 30, count)]


def one_by_one(model: ElmoModel, tokenizer: ElmoTokenizer, sentences) -> list[torch.Tensor]:
    """Return all layers of each sentence, `(T, L + 1, 2P)` with special tokens, computed one by one."""
    vectors = []
    for sentence in sentences:
        batch = tokenizer(sentence, is_split_into_words=not isinstance(sentence, str), return_tensors="pt")
        with torch.no_grad():
            output = model(**batch, output_hidden_states=True)
        vectors.append(torch.stack(output.hidden_states, dim=2)[0])
    return vectors


def assert_all_close(actual, expected):
    actual, expected = list(actual), list(expected)
    assert len(actual) == len(expected)
    for mine, other in zip(actual, expected):
        assert_close(mine, other, **EXACT)


@pytest.mark.parametrize("boundary_words", first_fast([False, True]))
@pytest.mark.parametrize("cached_words", first_fast([7, 0, 1000]))
def test_each_sentence_has_the_vectors_that_it_has_alone(tiny_model, tokenizer, cached_words, boundary_words):
    sentences = made_up_sentences(16)
    options = {"layers": "all", "cached_words": cached_words, "boundary_words": boundary_words, **SMALL}
    expected = one_by_one(tiny_model, tokenizer, sentences)
    if not boundary_words:
        expected = [vectors[1:-1] for vectors in expected]
    assert_all_close(embed_sentences(tiny_model, tokenizer, sentences, **options), expected)


def test_layers(tiny_model, tokenizer):
    sentences = made_up_sentences(6)
    everything = list(embed_sentences(tiny_model, tokenizer, sentences, layers="all", **SMALL))
    shares = tiny_model.mix_weights()[0] * tiny_model.mix_scales()
    for layers, of_all in {
        "mix": lambda vectors: torch.einsum("nld,l->nd", vectors, shares),
        "mean": lambda vectors: vectors.mean(1),
        "top": lambda vectors: vectors[:, -1],
        0: lambda vectors: vectors[:, 0],
        1: lambda vectors: vectors[:, 1],
        -1: lambda vectors: vectors[:, -1],
    }.items():
        actual = embed_sentences(tiny_model, tokenizer, sentences, layers=layers, **SMALL)
        assert_all_close(actual, map(of_all, everything))


TEXTS = ["I didn't go.", "", "The bank was closed; so be it."]
WORDS = [["I", "did", "n't", "go", "."], [], ["The", "bank", "was", "closed", ";", "so", "be", "it", "."]]
DATA = datasets.Dataset.from_dict({"text": TEXTS, "words": WORDS})


def streamed_column():
    """A column of a stream, which datasets has from its version 4 on; before, its rows."""
    stream = DATA.to_iterable_dataset().map(lambda row: {"text": row["text"]})
    return stream["text"] if int(datasets.__version__.split(".")[0]) >= 4 else (row["text"] for row in stream)


@pytest.mark.parametrize(
    "sentences",
    [
        TEXTS,
        WORDS,
        [TEXTS[0], tuple(WORDS[1]), np.array(WORDS[2], dtype=object)],
        DATA["text"],
        DATA["words"],
        DATA.with_format("numpy")["words"],
        streamed_column(),
    ],
    ids=["texts", "words", "mixed", "text column", "words column", "arrays", "streamed column"],
)
def test_texts_and_words_in_any_iterable(tiny_model, tokenizer, sentences):
    expected = [vectors[1:-1].mean(1) for vectors in one_by_one(tiny_model, tokenizer, TEXTS)]
    assert [len(vectors) for vectors in expected] == [5, 0, 9]
    assert_all_close(embed_sentences(tiny_model, tokenizer, sentences, layers="mean"), expected)


@pytest.mark.parametrize("sentences", [[], [[]], [""], [[], []]], ids=str)
@pytest.mark.parametrize("boundary_words", [False, True])
def test_nothing_to_embed(tiny_model, tokenizer, sentences, boundary_words):
    vectors = list(embed_sentences(tiny_model, tokenizer, sentences, boundary_words=boundary_words))
    assert [part.shape for part in vectors] == [(2 * boundary_words, 12)] * len(sentences)


@pytest.mark.parametrize(
    "options", [{"padding_side": "left"}, {"add_bos_token": False, "add_eos_token": False}], ids=str
)
def test_tokenizers_with_other_habits(tiny_model, options):
    tokenizer, sentences = ElmoTokenizer(**options), made_up_sentences(10)
    expected = one_by_one(tiny_model, tokenizer, sentences)
    actual = embed_sentences(tiny_model, tokenizer, sentences, layers="all", boundary_words=True, **SMALL)
    assert_all_close(actual, expected)


@pytest.mark.parametrize("sentences", [[[]], [""], [[], ["a"], []]], ids=str)
@pytest.mark.parametrize("cached_words", [0, 100])
def test_a_batch_without_a_word(tiny_model, sentences, cached_words):
    tokenizer = ElmoTokenizer(add_bos_token=False, add_eos_token=False)
    options = {"words_per_batch": 1, "batches_per_window": 1, "cached_words": cached_words}
    vectors = list(embed_sentences(tiny_model, tokenizer, sentences, **options))
    assert [part.shape for part in vectors] == [(len(sentence), 12) for sentence in sentences]


def test_heads_and_models_of_words(tiny_config, tmp_path):
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("<S>\n</S>\n<UNK>\na\nb\n", encoding="utf-8")
    tokenizer = ElmoTokenizer(str(vocabulary), max_characters_per_token=1)
    sizes = {"vocab_size": 6, "projection_size": 6, "cell_size": 10, "bos_token_id": 1, "eos_token_id": 2}
    model = shake(ElmoModel(ElmoConfig(char_cnn_filters=[], max_characters_per_token=1, **sizes)))
    sentences = [["a", "b", "c"], ["b"]]
    expected = [vectors[1:-1] for vectors in one_by_one(model, tokenizer, sentences)]
    assert_all_close(embed_sentences(model, tokenizer, sentences, layers="all"), expected)

    head, tokenizer = shake(ElmoForTokenClassification(tiny_config)), ElmoTokenizer()
    expected = list(embed_sentences(head.elmo, tokenizer, sentences))
    assert_all_close(embed_sentences(head, tokenizer, sentences), expected)


def test_layers_that_must_be_called(tiny_model, tokenizer):
    sentences, calls = made_up_sentences(10), []
    expected = [vectors[1:-1] for vectors in one_by_one(tiny_model, tokenizer, sentences)]
    tiny_model.layers[0].backward_lstm.input_gates.register_forward_hook(lambda *call: calls.append(call))
    assert_all_close(embed_sentences(tiny_model, tokenizer, sentences, layers="all", **SMALL), expected)
    assert calls


def test_sentence_lengths_are_those_of_all_words_of_one_row(tiny_model, tokenizer):
    sentences = [["a", "b"], ["c"]]
    ids = tokenizer([word for words in sentences for word in words], is_split_into_words=True, return_tensors="pt")
    for options in ({"sentence_lengths": [3, 3]}, {"sentence_lengths": [5], "use_state": True}):
        with pytest.raises(ValueError, match="`sentence_lengths`"):
            tiny_model(ids["input_ids"], **options)
    rows = [tokenizer(words, is_split_into_words=True, return_tensors="pt")["input_ids"] for words in sentences]
    expected = torch.cat([tiny_model(row).last_hidden_state for row in rows], dim=1)
    for gradients in (torch.no_grad(), torch.enable_grad()):
        with gradients:
            actual = tiny_model(torch.cat(rows, dim=1), sentence_lengths=[4, 3]).last_hidden_state
        assert_close(actual, expected, **EXACT)


def test_half_precision(tiny_model, tokenizer):
    sentences = made_up_sentences(10)
    expected = embed_sentences(tiny_model, tokenizer, sentences, **SMALL)
    expected = [vectors.clone() for vectors in expected]
    for vectors, other in zip(embed_sentences(tiny_model.bfloat16(), tokenizer, sentences, **SMALL), expected):
        assert vectors.dtype == torch.bfloat16
        assert_close(vectors.float(), other, rtol=0, atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("cached_words", [7, 0, 1000])
def test_weights_of_8_bits(tiny_model, tokenizer, cached_words):
    """Rounding may move single values to a neighboring code."""
    model = ElmoModel.from_pretrained(
        None, config=tiny_model.config, state_dict=tiny_model.state_dict(), quantization_config=ElmoInt8Config()
    )
    sentences = made_up_sentences(12)
    vectors = list(embed_sentences(model, tokenizer, sentences, layers="all", cached_words=cached_words, **SMALL))
    assert last_lstm_path().name == "int8"
    expected = [vectors[1:-1] for vectors in one_by_one(model, tokenizer, sentences)]
    assert list(map(len, vectors)) == list(map(len, expected)) == list(map(len, sentences))
    vectors, expected = torch.cat(vectors), torch.cat(expected)
    assert ((vectors - expected).abs() < 1e-5).float().mean() > 0.9
    assert_close(vectors, expected, rtol=0, atol=0.02)
    in_floats = torch.cat(list(embed_sentences(tiny_model, tokenizer, sentences, layers="all")))
    assert (vectors - in_floats).abs().max() > 1e-3


# ---- Batches, memory, the cache


def batches_seen(model: ElmoModel) -> list[list[int]]:
    """Return a list that collects the row lengths of each batch that the model computes."""
    seen = []

    def look(module, arguments, inputs):
        seen.append(inputs["attention_mask"].sum(1).tolist())

    model.register_forward_pre_hook(look, with_kwargs=True)
    return seen


def test_a_batch_has_a_budget_of_words_and_sentences_of_like_length(tiny_model, tokenizer, monkeypatch):
    seen, sentences = batches_seen(tiny_model), [["a"] * length for length in (1, 9, 40, 1, 8, 2, 9, 3)]
    vectors = embed_sentences(tiny_model, tokenizer, sentences, words_per_batch=22, batches_per_window=100)
    assert [len(part) for part in vectors] == [1, 9, 40, 1, 8, 2, 9, 3]
    batches = make_batches(tokenizer, sentences, 22, boundary_words=False)
    assert [sorted(batch.words.sum(1).tolist()) for batch in batches] == [[42], [11, 11], [5, 10], [3, 3, 4]]
    assert seen == [[89]]  # four batches at a time, their sentences in one row
    monkeypatch.setattr(embedding, "JOINED_BATCHES", 2)
    vectors = embed_sentences(tiny_model, tokenizer, sentences, words_per_batch=22, batches_per_window=100)
    assert [len(part) for part in vectors] == [1, 9, 40, 1, 8, 2, 9, 3]
    assert seen[1:] == [[42 + 15], [22 + 10]]  # batches of long sentences with such of short ones
    tiny_model.config.mix_layer_norm = True  # depends on its batch
    list(embed_sentences(tiny_model, tokenizer, sentences, words_per_batch=22, batches_per_window=100))
    assert [sorted(batch) for batch in seen[3:]] == [[42], [11, 11], [5, 10], [3, 3, 4]]


def test_what_is_read_ahead_is_bounded(tiny_model, tokenizer):
    read = itertools.count()
    endless = (["word"] * 8 for _ in read)
    for _ in itertools.islice(embed_sentences(tiny_model, tokenizer, endless, **SMALL), 100):
        pass
    # at 10 words a sentence and 40 words a window: what is out, the window being computed, the next, and one sentence
    assert next(read) <= 100 + 4 + 4 + 1


def test_a_sentence_kept_keeps_no_batch(tiny_model, tokenizer):
    for vectors in embed_sentences(tiny_model, tokenizer, made_up_sentences(10)):
        assert vectors.untyped_storage().nbytes() == vectors.nbytes


def test_a_word_type_is_computed_once(tiny_model, tokenizer):
    computed = []
    tiny_model.char_encoder.register_forward_pre_hook(lambda module, inputs: computed.append(inputs[0]))
    list(embed_sentences(tiny_model, tokenizer, made_up_sentences(30), **SMALL))
    rows = torch.cat(computed)
    assert len(rows) == len(rows.unique(dim=0)) > 50


@pytest.mark.parametrize("limit", [1, 3, 8, 100])
def test_the_cache_is_bounded_and_forgets_what_was_not_used_for_longest(tiny_model, tokenizer, limit):
    vectors = WordVectorCache(tiny_model, limit)
    ids = tokenizer([list("abcdefghij")], is_split_into_words=True, return_tensors="pt")["input_ids"][0].short()
    with torch.no_grad():
        expected = tiny_model(ids[None]).token_embeddings[0]
        for chosen in ([0, 1, 2], [1], [3], [4], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [9], [5, 9, 3], [], [7, 1]):
            assert_close(vectors(ids[chosen]), expected[chosen], **EXACT)
            assert len(vectors.rows) <= limit
            assert len(vectors.table) <= limit
        if limit == 3:
            assert list(vectors.rows) == [ids[place].numpy().tobytes() for place in (3, 7, 1)]


def test_a_table_beyond_what_is_made_at_once_grows_with_the_types(tiny_model):
    vectors, number = WordVectorCache(tiny_model, 10**12, initial_rows=2000), 3000
    ids = torch.full((number, 50), 261)
    ids[:, 0], ids[:, 4] = 259, 260
    ids[:, 1:4] = torch.arange(number)[:, None] // torch.tensor([1, 50, 2500]) % 50 + 98
    with torch.no_grad():
        before = vectors(ids[:100])
        assert len(vectors.table) == 2000
        vectors(ids)
        assert len(vectors.rows) == number
        assert len(vectors.table) <= 2 * number
        calls = []
        tiny_model.char_encoder.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
        assert torch.equal(vectors(ids[:100]), before)
        assert_close(vectors(ids[-100:]), vectors.compute(ids[-100:]), **EXACT)
    assert calls == [0, 0, 100]


def run_code(code: str) -> list[str]:
    """Return what code prints in a process of its own, a fork."""
    run = subprocess.run([forking_python("everything"), "-c", code], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout.split()


READ_A_LOT = """
from pathlib import Path
from hf_elmo import ElmoConfig, ElmoModel, ElmoTokenizer
from hf_elmo.embedding import embed_sentences

def peak():
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

tokenizer = ElmoTokenizer()
tokenizer.word_rows.limit = 2000
sizes = {"char_embedding_size": 4, "char_cnn_filters": [[1, 4]], "projection_size": 16, "cell_size": 16}
model = ElmoModel(ElmoConfig(num_highway_layers=0, **sizes))
text = ([f"word{number}-{place}" for place in range(number % 9)] for number in range(25_000))
options = {"layers": "all", "words_per_batch": 256, "batches_per_window": 4, "cached_words": 1000}
for number, vectors in enumerate(embed_sentences(model, tokenizer, text, **options)):
    if number == 5_000:
        before = peak()
print(number + 1, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process its peak")
def test_memory_does_not_grow_with_the_text():
    """All words are new; 20,000 sentences that leak 150 bytes each would be noticed."""
    sentences, megabytes = run_code(READ_A_LOT)
    assert int(sentences) == 25_000
    assert float(megabytes) < 3


SPELL_ASIDE = """
import os
import torch
from concurrent.futures import ThreadPoolExecutor
from hf_elmo import ElmoTokenizer
from hf_elmo.embedding import make_batches

def more_threads():
    return len(os.listdir("/proc/self/task")) - before

torch.set_num_threads(4)
window, before = [[f"word{place}" for place in range(4000)]] * 2, len(os.listdir("/proc/self/task"))
with ThreadPoolExecutor(1) as thread:
    batches = thread.submit(make_batches, ElmoTokenizer(), window, 10_000, True).result()
    print(*batches[0].types.shape, more_threads())
    thread.submit(torch.arange(200_000).sum).result()
    print(more_threads())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux lists a process's threads")
def test_the_encoding_thread_has_no_openmp_threads():
    """With more OpenMP threads than cores, small models need twice the time. A sum by torch starts some."""
    *spelled, after_torch = run_code(SPELL_ASIDE)
    assert spelled == ["4002", "50", "1"]
    assert int(after_torch) > 1


# ---- The model and the process stay as they were


def test_the_mode_and_gradients_are_the_users(tiny_config, tokenizer):
    tiny_config.lstm_dropout = 0.5
    model, sentences = shake(ElmoModel(tiny_config)), made_up_sentences(10)
    expected = list(embed_sentences(model, tokenizer, sentences, **SMALL))
    model.train()
    model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    for vectors, other in zip(embed_sentences(model, tokenizer, sentences, **SMALL), expected):
        assert_close(vectors, other, **EXACT)
        assert not vectors.requires_grad
        assert torch.is_grad_enabled()
        assert [module.training for module in model.modules()] == modes


def test_the_cache_works_in_other_modes(tiny_model, tokenizer):
    """Inference mode or autocast may surround some steps of a loop and not others."""
    sentences = made_up_sentences(12)
    expected = list(embed_sentences(tiny_model, tokenizer, sentences, **SMALL))
    vectors = embed_sentences(tiny_model, tokenizer, sentences, **SMALL)
    with torch.inference_mode():
        first = list(itertools.islice(vectors, 5))
    assert_all_close([*first, *vectors], expected)

    vectors = embed_sentences(tiny_model, tokenizer, sentences, **SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        first = list(itertools.islice(vectors, 5))
    actual = torch.cat([*first, *vectors])
    assert actual.dtype == torch.float32
    assert_close(actual, torch.cat(expected), rtol=0, atol=0.03)


def test_the_mode_is_restored_after_an_error(tiny_model, tokenizer):
    tiny_model.train()
    tiny_model.char_encoder.register_forward_pre_hook(lambda module, inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(embed_sentences(tiny_model, tokenizer, [["a"]]))
    assert all(module.training for module in tiny_model.modules())


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("embed_sentences")]


@pytest.mark.parametrize("taken", [0, 1, 30])
def test_closing_ends_the_thread(tiny_model, tokenizer, taken):
    vectors = embed_sentences(tiny_model, tokenizer, itertools.cycle(made_up_sentences(20)), **SMALL)
    assert len(list(itertools.islice(vectors, taken))) == taken
    assert len(threads()) == (taken > 0)
    vectors.close()
    assert not threads()


# ---- Errors


def test_an_error_of_the_source_comes_when_all_before_it_is_out(tiny_model, tokenizer):
    def source():
        yield from made_up_sentences(13)
        raise OSError("the disk is gone")

    vectors = embed_sentences(tiny_model, tokenizer, source(), **SMALL)
    assert len(list(itertools.islice(vectors, 13))) == 13
    with pytest.raises(OSError, match="the disk is gone"):
        next(vectors)
    assert not threads()


@pytest.mark.parametrize(
    ("wrong", "message"),
    first_fast(
        [
            (None, "sentence 13 .* must be a text or a list of words, but is None"),
            (17, "sentence 13 .* but is 17"),
            ({"text": "a"}, "sentence 13 .* but is {'text': 'a'}"),
            (["a", 2], "every word must be a string, but sentence 13 .* has 2"),
            ([["a"]], r"every word must be a string, but sentence 13 .* has \['a'\]"),
        ]
    ),
)
def test_what_is_no_sentence_is_named_by_its_number(tiny_model, tokenizer, wrong, message):
    vectors = embed_sentences(tiny_model, tokenizer, [*made_up_sentences(13), wrong, ["a"]], **SMALL)
    assert len(list(itertools.islice(vectors, 13))) == 13
    with pytest.raises(ValueError, match=message) as error:
        next(vectors)
    assert "\n" not in str(error.value)


def test_an_error_of_the_model_comes_through(tiny_model):
    with pytest.raises(ValueError, match=r"`input_ids` must be \(B, T, W\) = \(batch, words, 50\)"):
        next(embed_sentences(tiny_model, ElmoTokenizer(max_characters_per_token=40), [["a"]]))
    assert not threads()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sentences": "one text"}, "put it into a list"),
        ({"sentences": b"one text"}, "put it into a list"),
        ({"sentences": {"a": ["b"]}}, r"`sentences` is a dict: pass its values or one of them, not its keys"),
        ({"sentences": DATA}, r"is a Dataset with the columns text, words: pass one column, as in data\['text'\]"),
        ({"sentences": DATA.to_iterable_dataset()}, "is a IterableDataset with the columns text, words"),
        (
            {"sentences": datasets.DatasetDict(train=DATA, test=DATA)},
            r"is a DatasetDict: pass one column of one split, as in dataset\['train'\]\['text'\]",
        ),
        ({"sentences": DATA.to_pandas()}, "is a DataFrame with the columns text, words: pass one column"),
        ({"sentences": DATA.data.table}, "is a Table with the columns text, words: pass one column"),
        ({"sentences": 5}, "must be a list or another iterable of sentences, but is a int"),
        ({"layers": "last"}, "a layer's number from 0 to 2, but is 'last'"),
        ({"layers": 3}, "a layer's number from 0 to 2, but is 3"),
        ({"layers": True}, "but is True"),
        ({"words_per_batch": 0}, "`words_per_batch` must be a whole number of at least 1, but is 0"),
        ({"batches_per_window": 1.5}, "`batches_per_window` must be a whole number of at least 1, but is 1.5"),
        ({"cached_words": -1}, "`cached_words` must be a whole number of at least 0, but is -1"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_at_once(tiny_model, tokenizer, options, message):
    with pytest.raises(ValueError, match=message):
        embed_sentences(tiny_model, tokenizer, **{"sentences": [], **options})


# ---- Several processes


def test_processes_get_windows_in_turn():
    sentences = [["a"] * 8] * 11 + ["five letters a word, as it were, and so ten of them"]
    rounds = list(read_rounds(sentences, 20, 2))
    assert [[len(window) for window in windows] for windows in rounds] == [[2, 2], [2, 2], [2, 2]]
    assert [sentence for windows in rounds for window in windows for sentence in window] == sentences


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tiny_model, tokenizer, tmp_path):
    sentences = [" ".join(words) for words in made_up_sentences(24)]
    tiny_model.save_pretrained(tmp_path / "model")
    (tmp_path / "text.txt").write_text("\n".join(sentences), encoding="utf-8")
    script = Path(__file__).parents[1] / "helpers" / "embedding_in_two_processes.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(two_processes(script, tmp_path), capture_output=True, text=True, env=environment, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]

    def saved(name: str) -> list[list[torch.Tensor]]:
        return [torch.load(tmp_path / f"{name}-{process}.pt", weights_only=True) for process in range(2)]

    def alone(text=sentences, **options) -> list[torch.Tensor]:
        return list(embed_sentences(tiny_model, tokenizer, text, **options, **SMALL))

    for vectors in saved("all"):
        assert_all_close(vectors, alone(layers="all"))
    first, second = saved("main")
    assert_all_close(first, alone())
    assert second == []
    for vectors in saved("few"):
        assert_all_close(vectors, alone(sentences[:2]))
    assert [part.shape for part in saved("empty")[1]] == [(0, 12), (0, 12)]
    assert saved("none") == [[], []]
    for vectors in saved("half"):
        assert all(part.dtype == torch.bfloat16 for part in vectors)
        for part, other in zip(vectors, alone()):
            assert_close(part.float(), other, rtol=0, atol=0.03)
