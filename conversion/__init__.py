# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Foreign weight formats: conversion to a Hub-ready folder, and back."""

from .conversion import Conversion, convert
from .sources import looks_unconverted

__all__ = ["Conversion", "convert", "looks_unconverted"]
