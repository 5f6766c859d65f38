"""Checkpoints small enough to generate with in tests: random weights, real tokenizers."""

from pathlib import Path

import torch
from mt_bench_files import questions
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
)

EOS = "<|end_of_turn|>"


def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [
        f"GPT4 Correct User: {t} GPT4 Correct Assistant:" for q in questions() for t in q["turns"]
    ]
    inner.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token=EOS)


def checkpoint(folder: Path, kind: str = "mistral", **changes: object) -> Path:
    """Write a random model whose answers end by themselves now and then."""
    vocabulary = tokenizer()
    settings = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": None,
        **changes,
    }
    torch.manual_seed(3)
    if kind == "mixtral":
        model = MixtralForCausalLM(MixtralConfig(num_local_experts=4, **settings))
    else:
        model = MistralForCausalLM(MistralConfig(**settings))
    with torch.no_grad():
        model.lm_head.weight[1] *= 2.0
    model.save_pretrained(folder)
    vocabulary.save_pretrained(folder)
    return folder
