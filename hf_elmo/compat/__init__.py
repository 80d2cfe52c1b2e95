# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The calls of the libraries that ELMo was used with, so that old code runs with its import changed.

    allennlp.modules.elmo, allennlp.commands.elmo    `hf_elmo.compat`, or `hf_elmo.compat.allennlp`
    simple_elmo                                      `hf_elmo.compat.simple_elmo`
    elmoformanylangs                                 `hf_elmo.compat.elmoformanylangs`

Results are those of the originals, which carried the state of their LSTMs from call to call, so that vectors depend on
what was computed before. `stateful=False` turns that off: vectors then depend on their sentence alone.
"""

from .allennlp import Elmo, ElmoEmbedder, batch_to_ids

__all__ = ["Elmo", "ElmoEmbedder", "batch_to_ids"]
