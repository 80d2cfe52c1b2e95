"""What a model has learnt: weights of layers, senses of words in context, attributions (`hf-elmo inspect`)."""
