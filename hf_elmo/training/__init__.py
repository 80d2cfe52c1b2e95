"""Training of ELMo: `python -m hf_elmo.training.pretrain` and what its parts share."""
