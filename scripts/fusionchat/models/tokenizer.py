"""Loading a tokenizer, and whether it fits its folder and its model."""

import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionchat.errors import UserError
from fusionchat.files import read_json_object, read_text
from fusionchat.models.finished import check_unchanged
from fusionchat.models.model_config import one_line, quiet
from fusionchat.models.remote_code import runs_code

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

Number = Callable[[str], int | None]  # of a token; None where the vocabulary lacks it
_TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
_TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
# What tokenizers disagree about: spaces, line ends, digits, contractions, scripts, compositions.
SAMPLE = (
    "The quick brown fox, 12 of 3,456.78 in 2024.",
    "  two spaces before,  two between\t\ttabs and \u00a0 others ",
    "a line\n\nanother\r\n\n\n   def f(x):\n\treturn x != 1  # ok.\n",
    "don't I'LL we've DON'T camelCase HTTPServer https://example.org/a_b?c=d&e#f",
    "Zürich, naïve cafe\u0301, ﬁ ½ Ａ ①, “quotes” – and … dashes",
    "你好，世界。これはテスト 한국어 Привет हिन्दी العربية",
    "😀👍🏽🇩🇪 ∑∂x² ≠ π",
)


def load_tokenizer(folder: str | os.PathLike[str]) -> "PreTrainedTokenizerBase":
    """The fast tokenizer of a model folder, from tokenizer.json where it has one.

    transformers' classes for single tokenizers build what cuts the text themselves, and not always
    as the file says (a GPT-4o folder under `GPT2Tokenizer`); everything else here reads the file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder with a tokenizer")
    check_unchanged(folder)
    added = added_tokens(folder)
    path = folder / "tokenizer.json"
    tokenizer, number = _from_file(path) if path.exists() else _converted(folder)
    ends = {"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token}
    check_ends(ends, lambda token: number(token) is not None or token in added, folder)
    return tokenizer


def _from_file(path: Path) -> "tuple[PreTrainedTokenizerBase, Number]":
    """The tokenizer of a tokenizer.json, and the numbers of the file's tokens."""
    from transformers import PreTrainedTokenizerFast

    file = read_tokenizer(path)
    try:
        with quiet():
            tokenizer = PreTrainedTokenizerFast.from_pretrained(path.parent, local_files_only=True)
            tokenizer("a")  # some settings are used here first
    except Exception as error:  # whatever a wrong value does to transformers
        raise UserError(
            f"{path.parent}: a file beside tokenizer.json (tokenizer_config.json, a chat template "
            f"...) holds what transformers {version('transformers')} cannot use: "
            f"{one_line(error)}; copy it again, or save the tokenizer anew"
        ) from error
    check_cut(tokenizer, file, path)
    return tokenizer, file.token_to_id


def read_tokenizer(path: Path) -> "Tokenizer":
    """What a tokenizer.json says, without transformers; a file of another kind is a `UserError`."""
    from tokenizers import Tokenizer

    text = read_text(path)
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library of tokenizers has no errors of its own
        raise UserError(
            f"{path} cannot be read by tokenizers {version('tokenizers')}: {one_line(error)}; it "
            "is damaged, or a newer version saved it: save it again with the version here"
        ) from error


def _converted(folder: Path) -> "tuple[PreTrainedTokenizerBase, Number]":
    """The fast tokenizer that transformers makes of other files, like a SentencePiece model, and
    the numbers of their tokens.

    Code from the folder runs only where the config allowed that and transformers itself has no
    class for the tokenizer: the repositories' classes were written for older versions, which built
    what normalises, cuts and decodes in another way (a class like InternLM2's loses every space).
    """
    _check_not_mistrals(folder)
    from transformers import AutoTokenizer

    failure = OSError("no tokenizer.json")
    for trust in (False, True) if runs_code(folder) else (False,):
        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(
                    folder, trust_remote_code=trust, local_files_only=True
                )
            break
        except Exception as error:  # whatever a wrong file does to transformers
            failure = OSError(one_line(error))
    else:
        raise UserError(
            f"{folder} holds no tokenizer that can be loaded: {one_line(failure)}"
        ) from failure
    if not tokenizer.is_fast:
        raise UserError(f"{folder}: only fast tokenizers (tokenizer.json) give token offsets")
    return tokenizer, tokenizer.backend_tokenizer.model.token_to_id


def _check_not_mistrals(folder: Path) -> None:
    """Stop at the files of Mistral's own format, which no fast tokenizer is made of."""
    foreign = sorted(
        p.name for p in (*folder.glob("tekken.json"), *folder.glob("tokenizer.model.v*"))
    )
    if foreign and not (folder / "tokenizer.model").exists():
        raise UserError(
            f"{folder / foreign[0]} is a tokenizer in Mistral's format, which only mistral-common "
            "reads; put the tokenizer.json of the same model beside it (from its repository for "
            "transformers)"
        )


def check_cut(tokenizer: "PreTrainedTokenizerBase", file: "Tokenizer", path: Path) -> None:
    """Raise `UserError` if a tokenizer cuts a sample of text otherwise than tokenizer.json says.

    Its folder's files are read by the alignment, too: both must mean the same tokens.
    """
    file.no_padding()
    file.no_truncation()
    for text in SAMPLE:
        expected = file.encode(text, add_special_tokens=False).ids
        ids = tokenizer(text, add_special_tokens=False).input_ids
        if ids != expected:
            raise UserError(
                f"{path} cuts {text[:20]!r}... into {len(expected)} tokens, the tokenizer that "
                f"transformers makes of the folder into {len(ids)}; remove `tokenizer_class` and "
                "`add_prefix_space` from its tokenizer_config.json, or save the tokenizer anew"
            )


def has_template(folder: Path) -> bool:
    """Whether a tokenizer brings a chat template along: in a file of its own or in its settings."""
    settings = folder / "tokenizer_config.json"
    inside = settings.is_file() and read_json_object(settings).get("chat_template")
    return bool(inside) or any((folder / name).exists() for name in _TEMPLATES)


def read_settings(folder: Path) -> dict[str, Any]:
    """The tokenizer's configuration as transformers reads it: where tokenizer_config.json lists no
    added tokens, the files of older versions beside it add theirs, and decide on special tokens.
    """
    config, special_map, more = (_read_if_there(folder / name) for name in _TOKENIZER_FILES)
    if "added_tokens_decoder" in config:
        return config
    settings = config | special_map
    special = {spelling(value) for key, value in settings.items() if key.endswith("_token")}
    decoder = {i: {"content": text, "special": text in special} for text, i in more.items()}
    return settings | {"added_tokens_decoder": decoder}


def _read_if_there(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.exists() else {}


def spelling(token: Any) -> str | None:
    """A token's text, which may stand among its properties."""
    return token["content"] if isinstance(token, dict) else token


def added_tokens(folder: Path) -> dict[str, int]:
    """The tokens and ids that files beside tokenizer.json add to its vocabulary."""
    try:
        listed = read_settings(folder)["added_tokens_decoder"] or {}
        return {entry["content"]: int(index) for index, entry in listed.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{folder}: the added tokens of its tokenizer's files cannot be read ({error!r}); copy "
            "them again, or save the tokenizer anew"
        ) from error


def check_ends(ends: Mapping[str, str | None], known: Callable[[str], bool], folder: Path) -> None:
    """Raise `UserError` for a beginning or end of text that is not in the vocabulary.

    transformers would make a new token of it, which the model has never learnt.
    """
    for role, token in ends.items():
        if token is not None and not known(token):
            raise UserError(
                f"{folder}: the tokenizer's {role} {token!r} is not in its vocabulary, so the "
                "model cannot have learnt it; correct it in tokenizer_config.json"
            )


def check_vocabulary(
    config: "PretrainedConfig", tokenizer: "PreTrainedTokenizerBase", folder: Path
) -> None:
    """A tokenizer with ids that the model does not have is a `UserError`.

    The other way round is usual: models are padded to round vocabulary sizes.
    """
    highest, size = max(tokenizer.get_vocab().values()), config.get_text_config().vocab_size
    if highest >= size:
        raise UserError(
            f"{folder}: the tokenizer has id {highest}, the model only {size} entries (vocab_size "
            "in config.json); they do not belong together"
        )
