# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Everything that knows a foreign weight format: from it to a Hub-ready folder, and back."""

from .conversion import Conversion, convert

__all__ = ["Conversion", "convert"]
