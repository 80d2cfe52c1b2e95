"""Small weights in the original format, for the demonstration. Written by `hf_elmo.conversion.random_weights`."""
