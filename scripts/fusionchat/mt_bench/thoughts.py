"""What a model thinks before it answers, told apart from the answer itself."""

import re
from collections.abc import Iterator

# The marks of Qwen, DeepSeek, Claude, Magistral, Kimi, Cohere, Gemma, Apertus and OpenThinker.
_NAMES = r"(?:seed:|mm:|longcat_)?(?:think|thinking|thoughts?|reasoning|antthinking)"
_OPEN = (
    rf"<{_NAMES}(?:\s[^<>]*)?>|\[THINK\]|◁think▷"
    r"|<\|(?:begin_of_thought|START_THINKING|think|thinking|think_start|inner_prefix)\|>"
    r"|<\|channel>thought|<unused94>thought"
)
_CLOSE = (
    rf"</{_NAMES}\s*>|\[/THINK\]|◁/think▷"
    r"|<\|(?:end_of_thought|END_THINKING|/think|/thinking|think_end|inner_suffix)\|>"
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

# What answers may hold as well counts as thoughts only where a reply begins with it and goes on.
_NAMES_AT_FIRST = (
    "analysis|scratchpad|reflection|rationale|deliberation|cot|chain_of_thought|thought_process"
    "|thinking_process|reasoning_process|(?:inner|internal)_(?:monologue|thoughts?|reasoning)"
)
_AT_FIRST = [
    re.compile(rf"\s*(?:{form})(?P<answer>\s*\S.*)\Z", re.DOTALL | re.IGNORECASE)
    for form in (
        rf"<(?P<name>{_NAMES_AT_FIRST})(?:\s[^<>]*)?>(?P<thoughts>.*?)</(?P=name)\s*>",
        rf"\[(?P<name>reasoning|thinking|{_NAMES_AT_FIRST})\](?P<thoughts>.*?)\[/(?P=name)\]",
        r"<details type=\"reasoning\"[^<>]*>(?P<thoughts>.*?)</details>",
        r"```(?:thinking|thoughts?|reasoning)\n(?P<thoughts>.*?)\n```",
        r"thinking\.\.\.\n(?P<thoughts>.*?)\.\.\.done thinking\.",
        r"here is my thought process:(?P<thoughts>.*?)here is my response:",
    )
]
# Frames that OpenThinker and Cohere set around the answer behind their thoughts.
_FRAME = re.compile(r"<\|(?:begin_of_solution|end_of_solution|START_RESPONSE|END_RESPONSE)\|>")


def split_thoughts(text: str) -> tuple[str, str]:
    """(thoughts, answer) of a reply; a text without thoughts is returned as it is.

    An end without a beginning ends thoughts that began in the prompt; a beginning without an end
    is a reply that was cut off while the model was still thinking, so nothing behind it counts.
    """
    thoughts, answer = _split_marked(text)
    while match := next(filter(None, (form.match(answer) for form in _AT_FIRST)), None):
        thoughts, answer = [*thoughts, match["thoughts"].strip()], match["answer"]
    if not thoughts and answer == text:
        return "", text
    return "\n\n".join(filter(None, thoughts)), _FRAME.sub("", answer).strip()


def _split_marked(text: str) -> tuple[list[str], str]:
    """Thoughts between marks, or in channels of their own, and the answer."""
    if channels := list(_CHANNEL.finditer(text)):
        parts = [("thoughts", text[: channels[0].start()])]
        parts += [(match[1], match[2]) for match in channels]
    elif bare := _BARE_CHANNELS.match(text):
        parts = [("thoughts", bare["thoughts"]), (_FINAL, bare["answer"])]
    elif _MARK.search(text):
        parts = list(_marked_parts(text))
    else:
        return [], text
    thoughts = [part.strip() for name, part in parts if name != _FINAL]
    return thoughts, "".join(part for name, part in parts if name == _FINAL)


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
