"""Readers of the training scripts: files, folders and Hub datasets as `datasets.Dataset` of fixed columns."""
