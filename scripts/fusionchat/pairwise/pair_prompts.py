"""MT-Bench's pairwise judge prompts, and the verdict in a reply, as FastChat reads it."""

from dataclasses import dataclass

from fusionchat.dialogues.messages import chat_messages
from fusionchat.mt_bench.endpoint.endpoint import Messages
from fusionchat.mt_bench.endpoint.ledger import Response
from fusionchat.mt_bench.judging.chat_judge import Reading, read_text
from fusionchat.mt_bench.judging.judge_prompts import JudgePrompts
from fusionchat.mt_bench.judging.ratings import NO_RATING, Rule
from fusionchat.pairwise.matches import FIRST, SECOND, TIE, Game

NAMES = ("pair-v2", "pair-math-v1", "pair-v2-multi-turn", "pair-math-v1-multi-turn")
VERDICTS = {"[[A]]": FIRST, "[[B]]": SECOND, "[[C]]": TIE}


@dataclass(frozen=True)
class PairPrompts:
    """FastChat's four pairwise templates, filled in exactly as FastChat fills them."""

    files: JudgePrompts

    @property
    def prompts_sha256(self) -> str:
        """Checksum of the templates' file."""
        return self.files.prompts_sha256

    @property
    def references_sha256(self) -> str:
        """Checksum of the reference answers' file."""
        return self.files.references_sha256

    def name(self, task: Game) -> str:
        """Which template a game uses: with reference or without, first turn or both turns."""
        kind = "math-v1" if task.question.needs_reference else "v2"
        return f"pair-{kind}" + ("-multi-turn" if task.turn == 2 else "")

    def user_prompt(self, task: Game) -> str:
        """The text that shows the judge the question, both answers and the reference."""
        answers = dict(zip(("answer_a", "answer_b"), task.answers, strict=True))
        return self.files.filled(self.name(task), task.question, task.turn, answers)

    def messages(self, task: Game) -> Messages:
        """The chat messages for the judge: the system's and the user's."""
        system = self.files.templates[self.name(task)]["system_prompt"]
        return chat_messages(system, [self.user_prompt(task)])


def read_winner(response: Response, rule: Rule) -> Reading:
    """The verdict in a reply as a number, or why it has none."""
    return read_text(response, lambda text: parse_winner(text, rule))


def parse_winner(text: str, rule: Rule = "first") -> float:
    """The first assistant's share of the win.

    With `first` as FastChat reads it: [[A]] wherever it stands, else [[B]], else [[C]]. With `last`
    the last of them, for a judge that weighs verdicts in its text before it decides.
    """
    marks = [mark for mark in VERDICTS if mark in text]
    if not marks:
        return NO_RATING
    return VERDICTS[max(marks, key=text.rfind) if rule == "last" else marks[0]]
