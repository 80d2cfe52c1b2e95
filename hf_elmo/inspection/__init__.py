"""Inspection of a model: weights of layers, senses of words in context, attributions (`hf-elmo inspect`)."""
