"""Train a model that reads a text and writes another: a translation, a summary, a headline, a reply.

    python -m hf_elmo.training.seq2seq --model_name_or_path elmo --train_file train.en --validation_file val.en \\
        --test_file test.en --source_language en --target_language de --output_dir translation

Files are parallel lines (`train.de` beside `train.en`), or tables with a column of sources and one of targets; datasets
of the Hub have such columns, or `translation`. The encoder is ELMo, frozen by default; the decoder is a small
transformer, and the targets have a tokenizer of their own, trained on them by default. Both are saved:
`AutoTokenizer.from_pretrained(folder)` and `AutoTokenizer.from_pretrained(folder, subfolder="target")`. Texts are
written by beam search and scored by BLEU, chrF and ROUGE. Predictions are a text a line.
"""

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    AutoConfig,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    Seq2SeqTrainer,
)

from ..loading import load_tokenizer, loading
from ..model.configuration_elmo import ElmoConfig
from ..model.encoder_decoder_elmo import ElmoEncoderDecoderConfig, ElmoForSeq2SeqLM
from ..model.modeling_elmo import ElmoModel
from .arguments import ParallelArguments, Seq2SeqArguments, Seq2SeqModelArguments
from .checks import check_settings
from .configs import read_config
from .data.parallel_texts import read_parallel_texts
from .data.splits import Splits
from .runs import Runs
from .script import run_script
from .starting_model import StartingModel
from .target_texts import TARGET_FOLDER, TargetTexts, load_metrics, target_tokenizer
from .trainer import TaskTrainer


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    return run_script(
        "seq2seq", train, (ParallelArguments, Seq2SeqModelArguments, Seq2SeqArguments), arguments, __doc__
    )


def train(
    data: ParallelArguments, model_args: Seq2SeqModelArguments, args: Seq2SeqArguments, command: list[str]
) -> None:
    """Train with each seed, write the targets of the test sources, and save the best model."""
    load_metrics()  # which may be missing: known now rather than after training
    check_settings(model_args.model_name_or_path, args)
    splits = read_parallel_texts(data)
    pair = is_pair(model_args)
    config = encoder_config(model_args, splits, pair)
    source = load_tokenizer(model_args.model_name_or_path)
    task = TargetTexts(target_tokenizer(model_args, splits, pair), source, data)
    task.trainer, task.loss = TextTrainer, token_loss
    # The library tells everyone that it changed how it shifts labels, in 2021.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers.models.encoder_decoder")
    start = PairStart(ElmoForSeq2SeqLM, config, model_args, source, task.encode_splits(splits), task, args, pair)
    Runs(command, data, model_args, args, splits, start, task).train()


def is_pair(model_args: Seq2SeqModelArguments) -> bool:
    """Return whether the model to start from is a pair that was trained for the task."""
    with loading(model_args.model_name_or_path):
        config = AutoConfig.from_pretrained(model_args.model_name_or_path)
    return config.model_type == ElmoEncoderDecoderConfig.model_type


def encoder_config(model_args: Seq2SeqModelArguments, splits: Splits, pair: bool) -> ElmoConfig:
    """Return the configuration of the encoder of the model to train.

    `ValueError` if there are no training examples and the model is no pair.
    """
    name = model_args.model_name_or_path
    if pair:
        with loading(name):
            return AutoConfig.from_pretrained(name).encoder
    if splits.train is None:
        raise ValueError(
            f"{name} is no pair of encoder and decoder, which could write without training: give training examples, "
            "--train_file or --dataset_name"
        )
    is_trained = model_args.random_encoder or not model_args.freeze_encoder
    return read_config(name, model_args.config_overrides, is_trained, word_vocab_size=0)


@dataclass
class PairStart(StartingModel):
    """The pair that every run begins with: the same encoder or a random one, and a new decoder by the run's seed.

    Args:
        targets: The targets, whose tokenizer is saved beside that of the sources.
        args: Options of generation.
        pair: Whether the model to start from is a trained pair.
    """

    model_args: Seq2SeqModelArguments
    targets: TargetTexts
    args: Seq2SeqArguments
    pair: bool

    def load(self, config: ElmoConfig) -> ElmoForSeq2SeqLM:
        name = self.model_args.model_name_or_path
        with loading(name):
            if self.pair:
                return ElmoForSeq2SeqLM.from_pretrained(name, dtype=torch.float32)
            if self.model_args.random_encoder:
                return self.join(ElmoModel(config))
            return self.join(ElmoModel.from_pretrained(name, config=config, dtype=torch.float32))

    def join(self, encoder: PreTrainedModel) -> ElmoForSeq2SeqLM:
        """Return a pair with a new decoder, a small GPT-2 that also attends to the encoder."""
        given, data, tokenizer = self.model_args, self.targets.data, self.targets.tokenizer
        special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        dropouts = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), given.decoder_dropout)
        decoder = GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=max(data.max_target_length, self.args.generation_max_length or 0),
            n_embd=given.decoder_size,
            n_layer=given.decoder_layers,
            n_head=given.decoder_heads,
            is_decoder=True,
            add_cross_attention=True,
            **dropouts,
            **special,
        )
        special["decoder_start_token_id"] = tokenizer.bos_token_id
        config = ElmoEncoderDecoderConfig.from_encoder_decoder_configs(encoder.config, decoder, **special)
        model = ElmoForSeq2SeqLM(config, encoder, GPT2LMHeadModel(decoder))
        model.generation_config = GenerationConfig(
            max_length=self.args.generation_max_length or data.max_target_length,
            num_beams=self.args.generation_num_beams or 1,
            **special,
        )
        return model

    def save_tokenizers(self, folder: Path) -> None:
        super().save_tokenizers(folder)
        self.targets.tokenizer.save_pretrained(folder / TARGET_FOLDER)


class TextTrainer(TaskTrainer, Seq2SeqTrainer):
    """Trains a pair on the tokens of targets, and evaluates it by the texts that it writes."""


def token_loss(outputs: dict, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Return the cross-entropy of the targets' tokens, their mean over all batches of a step."""
    losses = F.cross_entropy(outputs["logits"].flatten(0, 1), labels.flatten(), reduction="sum", ignore_index=-100)
    return losses / ((labels != -100).sum() if num_items_in_batch is None else num_items_in_batch)


if __name__ == "__main__":
    sys.exit(main())
