"""`pipeline("text-generation")`: texts that the forward language model continues, as the stock pipeline gives them."""

import json
from pathlib import Path

import pytest
import torch
from fresh_process import run_python
from lanes import first_fast
from shaken import shake
from toy_tasks import WORDS
from toy_tasks import config as toy_config
from transformers import GPT2Config, GPT2LMHeadModel, TextGenerationPipeline, pipeline
from versions import beams

from hf_elmo import ElmoForCausalLM, ElmoForPreTraining, ElmoTokenizer
from hf_elmo.model.pipelines_elmo import ElmoTextGenerationPipeline

VOCABULARY = ["<S>", "</S>", "<UNK>", *WORDS]
GREEDY = {"do_sample": False, "max_new_tokens": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    (folder / "words.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    shake(ElmoForPreTraining(toy_config(word_vocab_size=len(VOCABULARY))), scale=0.6).save_pretrained(folder)
    ElmoTokenizer(str(folder / "words.txt"), max_characters_per_token=12).save_pretrained(folder)
    return folder


def parts(folder):
    return ElmoForCausalLM.from_pretrained(folder).eval(), ElmoTokenizer.from_pretrained(folder)


def expected_text(folder, prompt: str) -> str:
    model, tokenizer = parts(folder)
    batch = tokenizer(prompt, return_tensors="pt")
    output = model.generate(**batch, **GREEDY)[0, batch["input_ids"].shape[1] :]
    return tokenizer.decode(output, skip_special_tokens=True)


@beams
@pytest.mark.parametrize("way", first_fast(["path", "instances"]))
def test_results_are_those_of_generate(folder, way):
    if way == "path":
        generate = pipeline("text-generation", model=str(folder), device="cpu")
    else:
        model, tokenizer = parts(folder)
        generate = pipeline("text-generation", model=model, tokenizer=tokenizer, device="cpu")
    assert type(generate) is ElmoTextGenerationPipeline
    prompts = ["Ada met", "Tom saw Eve in", "In\n"]
    new = [expected_text(folder, prompt) for prompt in prompts]
    assert all(new)
    assert generate(prompts[0], **GREEDY) == [{"generated_text": f"Ada met {new[0]}"}]
    assert generate(prompts[2], **GREEDY) == [{"generated_text": f"In\n{new[2]}"}]
    for batch_size in (1, 3):
        results = generate(prompts, batch_size=batch_size, return_full_text=False, **GREEDY)
        assert results == [[{"generated_text": text}] for text in new]
    several = generate(prompts[0], num_return_sequences=2, num_beams=2, max_new_tokens=3)
    assert len(several) == 2
    assert all(result["generated_text"].startswith("Ada met ") for result in several)
    (tensors,) = generate(prompts[0], return_tensors=True, **GREEDY)
    assert torch.tensor(tensors["generated_token_ids"]).shape == (8, 12)


def test_words_end_it_and_strings_do_not(folder):
    generate = pipeline("text-generation", model=str(folder), device="cpu")
    end = generate.tokenizer.convert_words_to_labels(expected_text(folder, "Ada met").split()[0])
    assert len(generate("Ada met", eos_token_id=end, **GREEDY)[0]["generated_text"].split()) == 3
    with pytest.raises(ValueError, match="`stop_sequence` is looked for in pieces of words"):
        generate("Ada met", stop_sequence="Rome", **GREEDY)


def test_other_models_keep_the_stock_pipeline(folder):
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "vocab_size": 300}
    generate = pipeline("text-generation", model=GPT2LMHeadModel(GPT2Config(**sizes)), tokenizer=parts(folder)[1])
    assert type(generate) is TextGenerationPipeline


STRANGER = """
import json, sys
from stranger import NotInstalled
sys.meta_path.insert(0, NotInstalled())
from transformers import pipeline
generate = pipeline("text-generation", model=sys.argv[1], trust_remote_code=True, device="cpu")
print(json.dumps(generate("Ada met", do_sample=False, max_new_tokens=4)))
"""


@pytest.mark.slow
def test_code_that_came_with_the_weights(folder):
    process = run_python("-c", STRANGER, folder, PYTHONPATH=str(Path(__file__).parents[1] / "helpers"))
    (result,) = json.loads(process.stdout.splitlines()[-1])
    assert result == {"generated_text": f"Ada met {expected_text(folder, 'Ada met')}"}
