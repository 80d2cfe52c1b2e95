"""How fast ELMo is here: against the loop that defines it, torch's own LSTM, and what the machine can multiply at all.

    python benchmarks/speed.py [layer] [model] [corpus] [--sizes small original] [--batches 1 8 32 128] [--quick]

Random weights, made-up text, no network. All contestants run in every round, and every ratio is the median over rounds
of two times of the same round: a busy machine slows both, and the ratio stays. `--quick` only shows that
everything runs. On a GPU, if there is one, or on the CPU; `--device` chooses.

layer: one biLSTM layer. Forward on ragged rows of about 25 words, as sentences are; forward and backward on rows of 20.
    the loop       how many times as fast as the reference, word by word over padded rows
    nn.LSTM        as torch.nn.LSTM(proj_size), which cannot clip, on the same rows packed before (cuDNN's on a GPU)
    our float32    how many times as fast int8 is as ours in float32
    of peak        our multiplications and additions a second, of those of the fastest large product in the same round,
                   which is beside it in billions of a second
    MB             peak memory of one pass beyond the weights, each in a process of its own
model: rows of characters in, the mix of the layers out; ragged sentences of made-up words that recur as words do.
    prepared       float32 inside `with hf_elmo.prepared(model)`; its MB hold the copies of the weights, too
    plain          how many times as fast as the layers as they are defined: every character, every padded row
    of peak        of the recurrence's multiplications alone
    CNN            word types a second through the character CNN, against calls of its layers; its share of the time
corpus: `embed_sentences`, in float32, bfloat16 and int8; sentences of mixed lengths against equal ones, and four times
    the text. And its memory, for ever more sentences: of words that recur, and with ten new words in each, until no
    more of them are kept.
"""

import argparse
import json
from dataclasses import replace

import corpus
import recurrence
import torch
import whole_model
from measuring import SIZES, Settings, in_a_fresh_process, machine
from transformers.utils.logging import disable_progress_bar

TABLES = {"layer": recurrence.print_table, "model": whole_model.print_table, "corpus": corpus.print_tables}
MEMORY = {"layer": recurrence.memory_of, "model": whole_model.memory_of, "corpus": corpus.memory_of}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = "{" + ",".join(TABLES) + "}"
    parser.add_argument("tables", nargs="*", choices=[[], *TABLES], metavar=names, help="which tables, by default all")
    sizes = "cell and projection: " + ", ".join(f"{name} {cell}/{width}" for name, (cell, width) in SIZES.items())
    parser.add_argument("--sizes", nargs="+", default=["small", "original"], choices=SIZES, help=sizes)
    parser.add_argument("--batches", nargs="+", default=[1, 8, 32, 128], type=int, help="sentences at a time")
    parser.add_argument("--rounds", default=5, type=int, help="rounds, in each of which all contestants run")
    parser.add_argument("--sentences", default=1000, type=int, help="of the corpus that is timed")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cpu", "cuda"), default=device, help="by default a GPU if there is one")
    parser.add_argument("--threads", type=int, help="threads of the CPU; by default torch's number")
    parser.add_argument("--quick", action="store_true", help="everything once, as small as it goes")
    parser.add_argument("--memory-of", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        table, *what = arguments.memory_of
        print(MEMORY[table](*what))
        return
    settings = Settings(
        sizes=arguments.sizes,
        batches=arguments.batches,
        sentences=arguments.sentences,
        memory_sentences=[10_000, 100_000, 200_000],
        rounds=arguments.rounds,
        device=arguments.device,
        peak_size=2048 if arguments.device == "cpu" else 8192,
        megabytes=in_a_fresh_process,
    )
    if arguments.quick:
        settings = replace(
            settings,
            sizes=["tiny"],
            batches=[3],
            sentences=20,
            memory_sentences=[20, 200],
            rounds=1,
            peak_size=64,
            megabytes=lambda table, *what: MEMORY[table](*what),
        )
    disable_progress_bar()  # of saving and loading
    print(machine(arguments.device))
    for table in arguments.tables or TABLES:
        TABLES[table](settings)


if __name__ == "__main__":
    main()
