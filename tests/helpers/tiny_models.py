"""Tiny causal language models of several architectures, a tokenizer, and dialogues for them."""

import json
import random
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    RecurrentGemmaConfig,
)

from fusionchat.dialogues.dialogue import Dialogue, stable_id
from fusionchat.dialogues.renderer import Renderer, make_renderer

torch.set_num_threads(1)

TEXT = "sum two three list of the a value house tree 12 7 -> é, if not then else river"
WORDS = TEXT.split()
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
CONFIGS = {
    "mistral": lambda v: MistralConfig(vocab_size=v, sliding_window=16, **SIZES, **HEADS),
    "llama": lambda v: LlamaConfig(vocab_size=v, **SIZES, **HEADS),
    "mixtral": lambda v: MixtralConfig(
        vocab_size=v, num_local_experts=4, num_experts_per_tok=2, **SIZES, **HEADS
    ),
    "qwen2": lambda v: Qwen2Config(vocab_size=v, tie_word_embeddings=True, **SIZES, **HEADS),
    "gemma2": lambda v: Gemma2Config(
        vocab_size=v,
        head_dim=8,
        sliding_window=16,
        final_logit_softcapping=3.0,
        attn_logit_softcapping=2.0,
        query_pre_attn_scalar=8,
        **SIZES,
        **HEADS,
    ),
    "opt": lambda v: OPTConfig(  # its head asks the decoder inside the backbone
        vocab_size=v,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=1,
    ),
    "recurrent_gemma": lambda v: RecurrentGemmaConfig(
        vocab_size=v,
        block_types=("recurrent", "attention"),
        attention_window_size=16,
        num_attention_heads=4,
        logits_soft_cap=3.0,
        **SIZES,
    ),
}


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<eot>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(WORDS * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="<eot>")


@cache
def renderer() -> Renderer:
    """Conversations as OpenChat's, for that tokenizer."""
    return make_renderer(tokenizer())


def build(kind: str, vocab_size: int | None = None, seed: int = 0):
    """A model with weights large enough that its distributions are far from uniform."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[kind](vocab_size or len(tokenizer()) + 3))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() > 1:
                value.normal_(std=1.0 if "embed" in name or "lm_head" in name else 0.2)
    return model.eval()


def save(folder: Path, kind: str, **options) -> Path:
    build(kind, **options).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def dialogues(count: int, seed: int = 0) -> list[Dialogue]:
    rng = random.Random(seed)

    def text(most: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(1, most)))

    drawn = []
    for _ in range(count):
        turns = tuple((text(12), text(30)) for _ in range(rng.randint(1, 3)))
        drawn.append(Dialogue(stable_id(turns), turns, rng.choice(["math", "writing", None])))
    return drawn


def mixture(path: Path, items: list[Dialogue]) -> Path:
    records = [
        {
            "id": f"r{i}",
            "category": item.category,
            "conversations": [
                {"from": speaker, "value": value}
                for turn in item.turns
                for speaker, value in zip(("human", "gpt"), turn, strict=True)
            ],
        }
        for i, item in enumerate(items)
    ]
    path.write_text(json.dumps(records))
    return path
