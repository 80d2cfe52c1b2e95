"""Trained heads at work: texts in, labels, classes and answers out (`hf-elmo apply`)."""
