"""Marks of tests of what only newer versions of the libraries can do."""

import accelerate
import huggingface_hub
import pytest
import transformers
from packaging.version import Version

beams = pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.18"),
    reason="the beam search of this transformers takes `vocab_size`, the number of characters, for that of words",
)
continued_downloads = pytest.mark.skipif(
    Version(huggingface_hub.__version__) < Version("1.20"),
    reason="this huggingface_hub ends a download where the server closes the connection; a second call continues it",
)
exact_resumption = pytest.mark.skipif(
    Version(accelerate.__version__) < Version("1.7"),
    reason="with this accelerate, transformers' own Trainer goes on with other examples in the middle of an epoch",
)
