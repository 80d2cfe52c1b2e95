# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The README.md of a converted model: what its files tell, and nothing that they do not."""

from string import Template

from hf_elmo.configuration_elmo import ElmoConfig

from .sources import Original

CARD = Template("""\
---
library_name: transformers
license: $license
${language}pipeline_tag: $pipeline
tags:
- elmo
- converted
---

# $name

An ELMo (deep contextualized word representations, [Peters et al. 2018](https://arxiv.org/abs/1802.05365)), converted by
hf_elmo from its original weights. The numbers are the original's, bit by bit: they were moved, not computed.

```python
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("$name", trust_remote_code=True)
model = AutoModel.from_pretrained("$name", trust_remote_code=True)
batch = tokenizer(["I went to the river bank.", "The bank was closed."], padding=True, return_tensors="pt")
vectors = model(**batch).last_hidden_state          # (sentences, words with <S> and </S>, $hidden_size)
```

`last_hidden_state` is the mean of all layers until a task trains the mix; `output_hidden_states=True` gives each layer.

## Model

| | |
| --- | --- |
$architecture

## Input

$input
The text of the training corpus was tokenized by its authors before training; how is not recorded in the weights. Feed
words tokenized alike: `tokenizer(words, is_split_into_words=True)` takes them as they are.

## Provenance

Converted from `$source` ($format). SHA-256 of the files read:

| file | SHA-256 |
| --- | --- |
$files
$notes
## Training data, evaluation, limitations

Not recorded in the original files: see the publication of the weights. A model repeats the biases of the text it was
trained on.

License: $license_sentence
""")


def model_card(
    original: Original, name: str, source: str, files: dict[str, str], license: str | None, language: str | None
) -> str:
    """A model card with what is known of a converted model.

    Args:
        original: The model.
        name: Of the output folder.
        source: What the user named, a path, URL or preset.
        files: The files read, with their SHA-256.
        license, language: As given by the user.
    """
    config = original.config
    return CARD.substitute(
        name=name,
        license=license or "unknown",
        license_sentence=f"{license}." if license else "not recorded in the original files; ask their authors.",
        language=f"language: {language}\n" if language else "",
        pipeline="fill-mask" if config.word_vocab_size else "feature-extraction",
        hidden_size=config.hidden_size,
        architecture="\n".join(f"| {what} | {value} |" for what, value in architecture(config)),
        input=describe_input(config),
        source=source,
        format=original.format,
        files="\n".join(f"| `{file}` | `{digest}` |" for file, digest in files.items()),
        notes="".join(f"\nNote: {note}.\n" for note in original.notes),
    )


def architecture(config: ElmoConfig) -> list[tuple[str, str]]:
    rows = [
        ("layers", f"{config.num_hidden_layers} biLSTM layers over context-free word vectors"),
        ("width of a vector", f"{config.hidden_size}, both directions of {config.projection_size}"),
        (
            "LSTM cell",
            f"{config.cell_size} wide, clipped at {config.cell_clip}; projection clipped at {config.projection_clip}",
        ),
        ("skip connections", "yes" if config.use_skip_connections else "no"),
    ]
    if config.char_cnn_filters:
        widths = ", ".join(f"{count} of width {width}" for width, count in config.char_cnn_filters)
        rows += [
            ("character CNN", f"{config.char_features} filters ({widths}), {config.char_cnn_activation}"),
            ("highway layers", str(config.num_highway_layers)),
        ]
    if config.word_vocab_size:
        rows.append(("language-model head", f"{config.word_vocab_size:,} words, shared by both directions"))
    return rows


def describe_input(config: ElmoConfig) -> str:
    if not config.char_cnn_filters:
        return f"Whole words: {config.vocab_size - 1:,} of a fixed list; any other is `<UNK>`."
    limit = config.max_characters_per_token
    return (
        f"Characters are the bytes of UTF-8. A word is a row of {limit} ids: begin of word, its bytes, end of word, "
        f"padding; words longer than {limit - 2} bytes are cut there. No vocabulary, no lower-casing, no "
        "normalization. The boundary words `<S>` and `</S>` are added to each sentence."
    )
