"""Files of a saved tokenizer that somebody damaged: they load, or one line says what is wrong with which field."""

import json
import random
import shutil

import pytest
from lanes import first_fast
from transformers import AutoTokenizer

from hf_elmo import ElmoConfig, ElmoTokenizer

VALUES = [
    *(
        None,
        True,
        False,
        -1,
        0,
        1,
        2,
        7,
        10**9,
        10**18,
        10**30,
        3.5,
        float("nan"),
        "x",
        "",
        "<S>",
        "\ud800",
        "y" * 9999,
    ),
    *([], [1], ["a"], ["a", "a"], [["a"]], [None], {}, {"a": 1}, {"content": "a"}, {"content": 3}, {"0": "a"}),
    *({"__type": "AddedToken", "content": "z", "special": True}, {"__type": "AddedToken", "content": "z", "lstrip": 1}),
]
OPTIONS = [
    *("max_characters_per_token", "split", "added_words", "pad_token", "bos_token", "eos_token", "unk_token"),
    *("model_max_length", "padding_side", "truncation_side", "model_input_names", "pad_token_type_id", "chat_template"),
    *("add_bos_token", "add_eos_token", "clean_up_tokenization_spaces", "split_special_tokens", "processor_class"),
    *("extra_special_tokens", "additional_special_tokens", "added_tokens_decoder", "init_inputs", "mask_token"),
    *("word_rows", "word_vocab", "pad", "decode", "vocab_size", "is_fast", "__class__"),
]
OTHERS = [
    *("vocab_file", "tokenizer_file", "tokenizer_object", "auto_map", "backend", "name_or_path", "unheard_of"),
    *("vocab", "merges", "post_processor", "tokenizer_padding", "tokenizer_truncation", "_tokenizer"),
    "model_specific_special_tokens",
]


@pytest.fixture(scope="module", params=["characters", "words"])
def saved(request, tmp_path_factory):
    """A tokenizer with all there is to save: a vocabulary, added and special words."""
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "words.txt").write_text("<S>\n</S>\n<UNK>\nthe\nbank\n")
    width = {"characters": 20, "words": 1}[request.param]
    tokenizer = ElmoTokenizer(str(folder / "words.txt"), max_characters_per_token=width)
    tokenizer.add_tokens(["New York"])
    tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    tokenizer.save_pretrained(folder / "saved")
    ElmoConfig().save_pretrained(folder / "saved")
    return folder / "saved"


@pytest.fixture
def folder(saved, tmp_path, monkeypatch):
    """A copy to be damaged. Neither it nor what it loads as is saved with code, which would take most of the time."""
    monkeypatch.setattr(ElmoTokenizer, "_auto_class", None)
    return shutil.copytree(saved, tmp_path / "saved", ignore=shutil.ignore_patterns("*.py"))


def replace(path, content: bytes):
    """Write a file anew: file systems take longer to truncate one that has just been written."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def use(tokenizer, folder):
    """Do what is done with a tokenizer."""
    batch = tokenizer(["a bank in New York", "x"], padding=True, truncation=True, return_tensors="pt")
    tokenizer.decode(batch["input_ids"])
    tokenizer.pad([{"input_ids": tokenizer("it's")["input_ids"]}])
    tokenizer.get_vocab()
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer.save_pretrained(folder)


def loads_or_says_why(folder, again) -> str | None:
    """The message of one line, if a folder does not load or cannot be used; any other kind of error is a failure."""
    try:
        use(ElmoTokenizer.from_pretrained(folder), again)
    except (ValueError, OSError) as error:
        message = str(error)
    else:
        return None
    assert "\n" not in message
    return message


@pytest.mark.slow
@pytest.mark.parametrize("field", OPTIONS + OTHERS)
def test_values_of_another_kind(folder, tmp_path, field):
    path = folder / "tokenizer_config.json"
    saved = json.loads(path.read_text())
    messages = []
    for value in VALUES:
        replace(path, json.dumps({**saved, field: value}).encode())
        message = loads_or_says_why(folder, tmp_path / "again")
        if message and not message.startswith(("Asking to pad", "max_length")):  # of what is done, not of the file
            messages.append(message)
    assert field in OTHERS or len(messages) > 3
    unnamed = [message for message in messages if field not in message]
    assert field in OTHERS or all("words as input" in message or "not JSON in UTF-8" in message for message in unnamed)


def damage(text: bytes, chance: random.Random) -> bytes:
    """Text with bytes lost, doubled, changed or moved."""
    start, end = sorted(chance.randrange(len(text) + 1) for _ in range(2))
    short = slice(start, min(end, start + 12))
    match chance.randrange(5):
        case 0:
            return text[: short.start] + text[short.stop :]
        case 1:
            return text[: short.stop] + text[short.start :]
        case 2:
            return text[: short.start] + chance.randbytes(chance.randrange(1, 4)) + text[short.stop :]
        case 3:
            return text[:start]
    token = chance.choice([b"null", b"[]", b"{}", b"1e999", b'"\\ud800"', b"-1", b"true", b"99999999999999999999"])
    return text[: short.start] + token + text[short.stop :]


@pytest.mark.parametrize(
    "name", first_fast(["tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "added_tokens.json"])
)
def test_files_with_damaged_bytes(folder, tmp_path, name):
    files = {
        "special_tokens_map.json": b'{"pad_token": "<PAD>", "mask_token": {"content": "[M]", "lstrip": false}}',
        "added_tokens.json": b'{"New York": 262, "[MASK]": 263}',
    }
    path, chance, refused = folder / name, random.Random(0), 0
    if name in files:  # as older versions of transformers wrote them, without these in the configuration
        saved = json.loads((folder / "tokenizer_config.json").read_text())
        saved.pop("added_tokens_decoder", None)
        (folder / "tokenizer_config.json").write_text(json.dumps(saved))
    original = files.get(name) or path.read_bytes()
    for _ in range(150):
        replace(path, damage(original, chance))
        refused += loads_or_says_why(folder, tmp_path / "again") is not None
    assert refused > 10
    path.write_bytes(original)
    assert loads_or_says_why(folder, tmp_path / "again") is None


def test_a_message_names_file_and_field(folder):
    path = folder / "tokenizer_config.json"
    saved = json.loads(path.read_text())
    for field, value, expected in (
        (
            "max_characters_per_token",
            10**12,
            "at least 3 .* at most 10000, or 1 for words as input, but is 1000000000000",
        ),
        ("max_characters_per_token", "50", "at least 3 .*, but is '50'"),
        (
            "split",
            ["treebank"],
            r"one of 'treebank', 'punctuation', 'letters_digits', 'whitespace', but is \['treebank'\]",
        ),
        ("added_tokens_decoder", 3, "a dict from ids to words, but is 3"),
        ("model_max_length", "512", "a positive integer, but is '512'"),
        ("pad", 0, "left out, as it is no option, but is 0"),
    ):
        path.write_text(json.dumps({**saved, field: value}))
        for load in (ElmoTokenizer.from_pretrained, AutoTokenizer.from_pretrained):
            with pytest.raises(ValueError, match=rf"^\S*tokenizer_config\.json: {field} must be {expected}"):
                load(folder)
    path.write_text("3")
    with pytest.raises(ValueError, match="cannot be loaded: argument of type 'int'"):
        ElmoTokenizer.from_pretrained(folder)
    path.write_text("[1]")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: must hold a JSON object, but holds \[1\]"):
        ElmoTokenizer.from_pretrained(folder)
