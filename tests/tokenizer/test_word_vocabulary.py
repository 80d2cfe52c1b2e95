"""The word vocabulary: words to labels and back, its file, and models with words as input."""

import numpy as np
import pytest
import torch

from hf_elmo import ElmoTokenizer


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("<S>\n</S>\n<UNK>\nthe\nbank\n\nriver\n  bank \n!!!MAXTERMID\n日本\n", encoding="utf-8")
    return path


def test_words_become_labels_and_come_back(vocabulary, tmp_path):
    tokenizer = ElmoTokenizer(vocab_file=str(vocabulary))
    tokenizer.save_pretrained(tmp_path / "saved")
    for either in (tokenizer, ElmoTokenizer.from_pretrained(tmp_path / "saved")):
        assert either.word_vocab_size == 9
        assert either.convert_words_to_labels("the") == 3
        assert either.convert_words_to_labels(["<S>", "the", "bank", "banks", "</S>"]) == [0, 3, 7, 2, 1]
        assert either.convert_words_to_labels([["日本"], [], ["", "The"]]) == [[8], [], [5, 2]]
        assert either.convert_labels_to_words(3) == "the"
        assert either.convert_labels_to_words(torch.tensor([[0, 3], [8, 1]])) == [["<S>", "the"], ["日本", "</S>"]]
        with pytest.raises(ValueError, match="word id 9 is not in the word vocabulary of 9 words"):
            either.convert_labels_to_words([9])
        assert either("the bank")["input_ids"] == ElmoTokenizer()("the bank")["input_ids"]
        assert len(either) == 262


def test_a_vocabulary_that_lacks_a_special_token_is_refused(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("the\n<S>\n")
    with pytest.raises(ValueError, match=r"vocab\.txt lacks </S>, <UNK>: it needs .* one word a line"):
        ElmoTokenizer(vocab_file=str(path))
    path.write_bytes(b"<S>\n\xff\n")
    with pytest.raises(ValueError, match="line 2: not UTF-8"):
        ElmoTokenizer(vocab_file=str(path))
    with pytest.raises(ValueError, match="cannot be read"):
        ElmoTokenizer(vocab_file=str(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match="carries no word vocabulary"):
        ElmoTokenizer().convert_words_to_labels(["the"])


def test_words_can_be_the_input(vocabulary, tmp_path):
    ElmoTokenizer(vocab_file=str(vocabulary), max_characters_per_token=1).save_pretrained(tmp_path / "saved")
    tokenizer = ElmoTokenizer.from_pretrained(tmp_path / "saved")
    batch = tokenizer(["the river banks", "the"], padding=True, return_tensors="pt")
    assert batch["input_ids"].tolist() == [[[1], [4], [7], [3], [2]], [[1], [4], [2], [0], [0]]]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (
        0,
        1,
        2,
        3,
    )
    assert len(tokenizer) == tokenizer.vocab_size == 10
    assert tokenizer.decode(batch["input_ids"][0]) == "<S> the river <UNK> </S>"
    assert tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True) == ["the river", "the"]
    assert tokenizer.convert_ids_to_tokens([4, 7]) == ["the", "river"]


def test_ids_of_words_as_the_original_checkpoint_has_them(fixtures_dir):
    tokenizer = ElmoTokenizer(vocab_file=str(fixtures_dir / "bilm_checkpoint" / "vocab.txt"))
    sentences = [
        line.split() for line in (fixtures_dir / "bilm_checkpoint" / "lm_sentences.txt").read_text().splitlines()
    ]
    with np.load(fixtures_dir / "bilm_checkpoint" / "lm_predictions.npz") as expected:
        for number, words in enumerate(sentences):
            labels = tokenizer.convert_words_to_labels([*words, "</S>"])
            np.testing.assert_array_equal(labels, expected[f"sent{number}/fw/target_ids"])
