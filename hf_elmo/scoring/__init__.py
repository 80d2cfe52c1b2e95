# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Scores of a language model: log-probabilities of sentences, and the most probable words in a place."""

from .sentences import SentenceScore, score_sentences
from .words import Candidate, next_words, previous_words, substitutes

__all__ = ["Candidate", "SentenceScore", "next_words", "previous_words", "score_sentences", "substitutes"]
