# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Language-model training: the corpus, its streams of words, the Trainer, and the perplexity of a text."""
