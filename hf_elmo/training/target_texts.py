"""Target texts as a decoder reads and writes them: their tokenizer, labels, metrics and predictions.

BLEU and chrF are those of sacrebleu, ROUGE that of rouge-score (words of ASCII letters and digits, no stemming), all in
percent; a text with several references is compared with the best (ROUGE) or all of them together (BLEU, chrF).
"""

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..loading import load_tokenizer, loading
from ..text_files import write_lines
from .arguments import ParallelArguments, Seq2SeqModelArguments
from .batches import EncodedDataset, encode
from .data.splits import Splits, values
from .errors import score_errors
from .tasks import Task

TARGET_FOLDER = "target"  # of a saved pair: the tokenizer of its decoder
METRICS = ("bleu", "chrf", "rouge1", "rouge2", "rougeL")
ROUGE = METRICS[2:]


def load_metrics() -> tuple[Any, Any]:
    """Return sacrebleu and a scorer of ROUGE; `ValueError` with what to install where one of them is not there."""
    try:
        import sacrebleu
        from rouge_score.rouge_scorer import RougeScorer
        from rouge_score.tokenizers import DefaultTokenizer
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed: pip install 'hf-elmo[generation]'") from None
    return sacrebleu, RougeScorer([*ROUGE], tokenizer=DefaultTokenizer(use_stemmer=False))


def train_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """Return a byte-pair tokenizer, which can write every text, of at most `size` tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<s>", "</s>", "<pad>"],  # batches of decoder inputs are filled up with 0
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special)


def target_tokenizer(model_args: Seq2SeqModelArguments, splits: Splits, pair: bool) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a trained pair's targets, a given one, or one trained on the targets."""
    if pair:
        with loading(model_args.model_name_or_path):
            tokenizer = AutoTokenizer.from_pretrained(model_args.model_name_or_path, subfolder=TARGET_FOLDER)
    elif model_args.target_tokenizer is not None:
        tokenizer = load_tokenizer(model_args.target_tokenizer)
    else:
        learned = [references[0] for references in values(splits.train, "references")]
        tokenizer = train_tokenizer(learned, model_args.target_vocab_size)
    for name, stand_in in (("bos_token", "cls_token"), ("eos_token", "sep_token"), ("pad_token", "eos_token")):
        if getattr(tokenizer, name) is None:
            setattr(tokenizer, name, getattr(tokenizer, stand_in))
    if None in (tokenizer.bos_token, tokenizer.eos_token):
        raise ValueError(
            f"--target_tokenizer {model_args.target_tokenizer}: has no token that begins a text or none that ends "
            "one (bos_token or cls_token, eos_token or sep_token); give another one"
        )
    return tokenizer


class TargetTexts(Task):
    """Texts that a model writes; they have a tokenizer of their own, beside that of the sources."""

    default_metric = "chrf"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, source: PreTrainedTokenizerBase, data: ParallelArguments):
        super().__init__(tokenizer)
        self.source, self.data = source, data

    def encode(self, examples: Dataset) -> EncodedDataset:
        """Encode sources, and the first target of each as `decoder_input_ids` and `labels`, shifted by one."""
        features = encode(self.source, values(examples, "text"), truncation=True, max_length=self.data.max_source_words)
        references = values(examples, "references")
        if any(references):
            for feature, texts in zip(features, references):
                ids = self.tokenizer(texts[0], add_special_tokens=False)["input_ids"] if texts else None
                labels = (
                    [-100] if ids is None else [*ids[: self.data.max_target_length - 1], self.tokenizer.eos_token_id]
                )
                feature["labels"] = np.array(labels)
                feature["decoder_input_ids"] = np.array([self.tokenizer.bos_token_id, *labels[:-1]])
        return EncodedDataset(examples, features)

    def gold(self, examples: Dataset) -> list[tuple[str, list[str]] | None]:
        """Return the source and the references of each example."""
        rows = zip(values(examples, "text"), values(examples, "references"))
        return [(source, references) if references else None for source, references in rows]

    def predicted(self, dataset: EncodedDataset, predictions: np.ndarray) -> list[str]:
        ids = np.where(predictions < 0, self.tokenizer.pad_token_id, predictions)
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def metrics(self, gold: Sequence, predicted: Sequence) -> dict[str, float]:
        return score_texts([(text, references) for text, (_, references) in zip(predicted, gold)])

    def metric_names(self, splits: Splits) -> list[str]:
        return [*METRICS]

    def errors(self, gold: Sequence, predicted: Sequence) -> dict:
        """Count the texts by length and chrF."""
        score = load_metrics()[0].sentence_chrf
        scores = [
            (len(source.split()), score(text, references).score) for text, (source, references) in zip(predicted, gold)
        ]
        return score_errors(scores, "chrF", "texts")

    def write_predictions(self, path: Path, examples: Dataset, predicted: list[str]) -> None:
        """Write a text a line."""
        write_lines(path.with_suffix(".txt"), (" ".join(text.split()) + "\n" for text in predicted))


def score_texts(pairs: list[tuple[str, list[str]]]) -> dict[str, float]:
    """Return the metrics of texts, each with its references; {} without any."""
    if not pairs:
        return {}
    sacrebleu, scorer = load_metrics()
    texts = [text for text, _ in pairs]
    columns = [list(column) for column in zip_longest(*(references for _, references in pairs))]  # None: no more
    rouge = [scorer.score_multi(references, text) for text, references in pairs]
    return {
        "bleu": sacrebleu.corpus_bleu(texts, columns).score,
        "chrf": sacrebleu.corpus_chrf(texts, columns).score,
        **{name: 100 * float(np.mean([scores[name].fmeasure for scores in rouge])) for name in ROUGE},
    }
