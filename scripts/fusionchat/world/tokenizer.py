"""Two kinds of small BPE tokenizers, trained on the world's text, with the OpenChat chat template.

`metaspace` splits like Llama's SentencePiece model: a word carries its space in front ('▁'), digits
stand alone, unknown characters fall back to bytes. `byte_level` splits like GPT-2 ('Ġ').
Tokenizers of one kind have the same base vocabulary; the end-of-turn token is added behind it, as
the vocabularies of OpenChat and of NH2's models differ only in such added tokens.
"""

import json
from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

UNKNOWN, BEGIN, PADDING = BASE_SPECIALS = ("<unk>", "<s>", "<pad>")

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ 'GPT4 Correct ' + message['role'].capitalize() + ': ' + message['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}"
)


def train_tokenizer(
    lines: Sequence[str], kind: str, vocabulary: int, end_of_turn: str
) -> PreTrainedTokenizerFast:
    """Train on lines of text: `vocabulary` base tokens, then `end_of_turn` as eos behind them.

    Ids 0, 1, 2 are unknown, bos and padding. `kind` is `metaspace` or `byte_level`. The lines
    must be rich enough for so many tokens; with fewer the vocabulary is smaller.
    """
    backend = {"metaspace": _metaspace, "byte_level": _byte_level}[kind](lines, vocabulary)
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in BASE_SPECIALS])
    backend.add_special_tokens([AddedToken(end_of_turn, normalized=False)])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, backend.token_to_id(BEGIN))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BEGIN,
        eos_token=end_of_turn,
        unk_token=UNKNOWN,
        pad_token=PADDING,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def _metaspace(lines: Sequence[str], vocabulary: int) -> Tokenizer:
    splits = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="never"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split(Regex("[^\\w\\s▁]"), behavior="isolated"),
        ]
    )
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    backend = _trained(lines, splits, [*BASE_SPECIALS, *byte_tokens], vocabulary, [])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return backend


def _byte_level(lines: Sequence[str], vocabulary: int) -> Tokenizer:
    splits = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = _trained(lines, splits, list(BASE_SPECIALS), vocabulary, alphabet)
    backend.decoder = decoders.ByteLevel()
    return backend


def _trained(
    lines: Sequence[str],
    splits: pre_tokenizers.PreTokenizer,
    first: list[str],
    vocabulary: int,
    alphabet: list[str],
) -> Tokenizer:
    """A BPE tokenizer whose vocabulary begins with the tokens `first`, none of them added tokens.

    The trainer could only take `first` as special tokens, which would make Llama's byte tokens
    match literally in text and vanish when decoding; so they are put in front afterwards.
    """
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = splits
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(first), initial_alphabet=alphabet, show_progress=False
    )
    learner.train_from_iterator(lines, trainer)
    learned = json.loads(learner.to_str())["model"]
    pieces = first + sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    backend = Tokenizer(
        BPE(
            vocab={piece: position for position, piece in enumerate(pieces)},
            merges=[tuple(pair) for pair in learned["merges"]],
            unk_token=UNKNOWN,
            fuse_unk=True,
            byte_fallback=not alphabet,
        )
    )
    backend.pre_tokenizer = splits
    return backend
