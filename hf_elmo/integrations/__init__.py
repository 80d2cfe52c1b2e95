# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""ELMo inside other libraries: scikit-learn, spaCy and PEFT. Each module needs its library, and none of the others."""
