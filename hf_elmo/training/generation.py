"""Pairs of an ELMo encoder and a decoder: the pair that runs begin with, and the Trainer that lets them write."""

import warnings
from collections.abc import Callable
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
    PreTrainedTokenizerBase,
    Seq2SeqTrainer,
    set_seed,
)

from ..loading import loading
from ..model.configuration_elmo import ElmoConfig
from ..model.encoder_decoder_elmo import ElmoEncoderDecoderConfig, ElmoForSeq2SeqLM
from ..model.modeling_elmo import ElmoModel
from .arguments import Seq2SeqArguments, Seq2SeqModelArguments
from .batches import EncodedDataset
from .configs import read_config
from .data.splits import Splits
from .starting_model import StartingModel, set_mixes
from .target_texts import TARGET_FOLDER, TargetTexts
from .trainer import TaskTrainer


def is_pair(model_args: Seq2SeqModelArguments) -> bool:
    """Return whether the model to start from is a pair that was trained for the task."""
    name = model_args.model_name_or_path
    if name is None:
        raise ValueError("--model_name_or_path is missing: a pretrained encoder, or a model trained for the task")
    with loading(name):
        return AutoConfig.from_pretrained(name).model_type == ElmoEncoderDecoderConfig.model_type


def encoder_config(model_args: Seq2SeqModelArguments, splits: Splits) -> ElmoConfig:
    """Return the configuration of the encoder of the model to train.

    Raises:
        `ValueError`: if there are no training examples and the model is no pair.
    """
    name = model_args.model_name_or_path
    if is_pair(model_args):
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
    """

    model_args: Seq2SeqModelArguments
    targets: TargetTexts | None = None
    args: Seq2SeqArguments | None = None

    def create(self, seed: int) -> ElmoForSeq2SeqLM:
        """Return a new pair; the seed determines the weights of the decoder."""
        set_seed(seed)
        name = self.model_args.model_name_or_path
        with loading(name):
            if is_pair(self.model_args):
                model = ElmoForSeq2SeqLM.from_pretrained(name, dtype=torch.float32)
            elif self.model_args.random_encoder:
                model = self.join(ElmoModel(self.config))
            else:
                model = self.join(ElmoModel.from_pretrained(name, config=self.config, dtype=torch.float32))
        set_mixes(model, self.model_args.mix)
        if self.model_args.freeze_encoder:
            model.elmo.freeze_encoder()
        return model

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

    def __init__(
        self,
        model: ElmoForSeq2SeqLM,
        args: Seq2SeqArguments,
        datasets: dict[str, EncodedDataset],
        tokenizer: PreTrainedTokenizerBase,
        score: Callable[..., dict[str, float]],
    ):
        super().__init__(model, args, datasets, tokenizer, score, compute_loss_func=token_loss)
        # The library tells everyone that it changed how it shifts labels, in 2021.
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers.models.encoder_decoder")


def token_loss(outputs: dict, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Return the cross-entropy of the targets' tokens, their mean over all batches of a step."""
    losses = F.cross_entropy(outputs["logits"].flatten(0, 1), labels.flatten(), reduction="sum", ignore_index=-100)
    return losses / ((labels != -100).sum() if num_items_in_batch is None else num_items_in_batch)
