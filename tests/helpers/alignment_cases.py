"""Model folders and logit stores for the alignment tests, made from the golden tokenizers."""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from fusionchat.logits.store import DialogueLogits, LogitWriter
from fusionchat.models import token_table

TOKENIZERS = Path(__file__).parents[1] / "golden" / "tok"
TEXTS = [
    "The quiet river carried 12 small boats home.",
    "naïve café, ﬁne ligature — 小さな猫 🙂 and\n\ttabs  and   spaces ",
    "x",
    "",
    "def f(a):\n    return a + 1  # done",
]


def special(letter: str) -> dict[str, str]:
    """Role names of a golden tokenizer."""
    bos, eos = ("<|bos|>", "<|eos|>") if letter == "B" else ("<s>", "</s>")
    return {"bos": bos, "eos": eos, "unk": "<unk>"}


def table(letter: str) -> token_table.TokenTable:
    """The token table of a golden tokenizer."""
    content = json.loads((TOKENIZERS / f"{letter}.json").read_text(encoding="utf-8"))
    return token_table.from_content(content, special(letter), letter)


def words(*pieces: str) -> token_table.TokenTable:
    """A vocabulary that spells its tokens as they are."""
    model = {"type": "BPE", "vocab": {piece: i for i, piece in enumerate(pieces)}, "merges": []}
    return token_table.from_content({"model": model}, {}, "words")


def encode(letter: str, text: str) -> np.ndarray:
    """Ids of a text without special tokens, int32."""
    tok = Tokenizer.from_file(str(TOKENIZERS / f"{letter}.json"))
    return np.array(tok.encode(text, add_special_tokens=False).ids, np.int32)


def model_folder(path: Path, letter: str, change=None) -> Path:
    """A folder with a golden tokenizer; `change(content, names)` edits it before it is written."""
    path.mkdir(parents=True, exist_ok=True)
    content = json.loads((TOKENIZERS / f"{letter}.json").read_text(encoding="utf-8"))
    names = special(letter)
    if change:
        change(content, names)
    usual = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content["added_tokens"] = [{**usual, **entry} for entry in content["added_tokens"]]
    (path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    settings = {f"{role}_token": text for role, text in names.items()}
    (path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return path


def sentencepiece_folder(path: Path) -> Path:
    """A folder as some repositories have it: `tokenizer.model` and code for an older library."""
    import sentencepiece

    path.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*TEXTS[:2], "the river of the north " * 9] * 5),
        model_prefix=str(path / "tokenizer"),
        vocab_size=330,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    classes = ["tokenization_x.Slow", "tokenization_x.Fast"]
    added = {"330": {"content": "<|im_end|>", "special": True}}
    settings = {"auto_map": {"AutoTokenizer": classes}, "tokenizer_class": "Fast"}
    settings |= {"eos_token": "<|im_end|>", "unk_token": "<unk>", "added_tokens_decoder": added}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    (path / "config.json").write_text('{"model_type": "internlm2"}')
    (path / "tokenization_x.py").write_text("raise RuntimeError('code of the folder was run')")
    return path


def dialogue(
    folder: Path, name: str, responses: list[str], k: int = 4, seed: int = 0
) -> DialogueLogits:
    """A dialogue with random distributions that know the token that stands there."""
    tok = Tokenizer.from_file(str(folder / "tokenizer.json"))
    info = token_table.load(folder)
    rng = np.random.default_rng(seed)
    ids, spans = [info.roles["bos"]], []
    for text in responses:
        ids += tok.encode(" question:", add_special_tokens=False).ids
        answer = [*tok.encode(text, add_special_tokens=False).ids, info.roles["eos"]]
        spans.append((len(ids), len(answer)))
        ids += answer
    gold = np.concatenate([np.array(ids[a : a + b]) for a, b in spans])
    top_ids, logprobs, ce = distributions(rng, gold, info.size, k)
    return DialogueLogits(
        dialogue_id=name,
        input_ids=np.array(ids, np.int32),
        spans=np.array(spans, np.int32),
        top_ids=top_ids,
        top_logprobs=logprobs.astype(np.float16),
        token_ce=ce.astype(np.float16),
        ce=float(ce.mean()),
        ce_byte=float(ce.sum() / max(1, sum(len(r.encode()) for r in responses))),
    )


def distributions(
    rng: np.random.Generator, gold: np.ndarray, size: int, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Top-k of random distributions in which the gold token is listed: ids, log-probs, CE."""
    n = len(gold)
    ids = np.stack([rng.permutation(size)[:k] for _ in range(n)]).astype(np.int32)
    listed = (ids == gold[:, None]).any(axis=1)
    ids[~listed, 0] = gold[~listed]
    weights = rng.dirichlet(np.ones(k + 1), size=n)[:, :k]
    order = np.argsort(-weights, axis=1)
    weights, ids = np.take_along_axis(weights, order, 1), np.take_along_axis(ids, order, 1)
    ce = -np.log(weights[ids == gold[:, None]])
    return ids, np.log(weights), ce


def store(path: Path, folder: Path, dialogues: list[list[str]], **options) -> Path:
    """A logit store of some dialogues, named d0, d1, ..."""
    with LogitWriter(path, {"model": folder.name}) as writer:
        for index, responses in enumerate(dialogues):
            writer.write(dialogue(folder, f"d{index}", responses, seed=index, **options))
    return path
