"""A small trained English biLM in the original format; README.md beside this says how it was made."""
