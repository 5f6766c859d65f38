"""What a model thinks before it answers, told apart from the answer itself."""

import re
from collections.abc import Iterator

# The marks of Qwen, DeepSeek, Claude, Magistral, Kimi, Cohere, Gemma and OpenThinker.
_NAMES = r"(?:seed:|mm:|longcat_)?(?:think|thinking|thoughts?|reasoning|antthinking)"
_OPEN = (
    rf"<{_NAMES}(?:\s[^<>]*)?>|\[THINK\]|◁think▷|<\|(?:begin_of_thought|START_THINKING|think)\|>"
    r"|<\|channel>thought|<unused94>thought"
)
_CLOSE = (
    rf"</{_NAMES}\s*>|\[/THINK\]|◁/think▷|<\|(?:end_of_thought|END_THINKING|/think)\|>"
    r"|<channel\|>|<unused95>"
)
# A mark in quotes is spoken about, not used.
_MARK = re.compile(rf"(?<![`\"'])(?:(?P<open>{_OPEN})|(?P<close>{_CLOSE}))", re.IGNORECASE)

# Channels of gpt-oss, as they are and as they look when special tokens are left out.
_CHANNEL = re.compile(
    r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)",
    re.DOTALL,
)
_BARE_CHANNELS = re.compile(
    r"\Aanalysis(?P<thoughts>.*?)assistant\s*final(?P<answer>.*)", re.DOTALL
)
_FINAL = "final"


def split_thoughts(text: str) -> tuple[str, str]:
    """(thoughts, answer) of a reply; a text without thoughts is returned as it is.

    An end without a beginning ends thoughts that began in the prompt; a beginning without an end
    is a reply that was cut off while the model was still thinking, so nothing behind it counts.
    """
    if channels := list(_CHANNEL.finditer(text)):
        parts = [("thoughts", text[: channels[0].start()])]
        parts += [(match[1], match[2]) for match in channels]
    elif bare := _BARE_CHANNELS.match(text):
        parts = [("thoughts", bare["thoughts"]), (_FINAL, bare["answer"])]
    elif _MARK.search(text):
        parts = list(_marked_parts(text))
    else:
        return "", text
    thoughts = [part.strip() for name, part in parts if name != _FINAL]
    answer = "".join(part for name, part in parts if name == _FINAL)
    return "\n\n".join(filter(None, thoughts)), answer.strip()


def _marked_parts(text: str) -> Iterator[tuple[str, str]]:
    """The parts between the marks; a closing mark makes thoughts of all that was not told apart."""
    position, thinking = 0, False
    pending: list[tuple[str, str]] = []
    for mark in _MARK.finditer(text):
        part = text[position : mark.start()]
        position = mark.end()
        if mark["close"]:
            # Without a beginning, the thoughts began in the prompt or in what seemed the answer.
            yield from pending if thinking else [("thoughts", part) for _, part in pending]
            pending = []
            yield "thoughts", part
        else:
            pending.append(("thoughts" if thinking else _FINAL, part))
        thinking = not mark["close"]
    pending.append(("thoughts" if thinking else _FINAL, text[position:]))
    yield from pending
