"""What the tests of the tokenizer share."""

import pytest

from hf_elmo import ElmoTokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return ElmoTokenizer()
