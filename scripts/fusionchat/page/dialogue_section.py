"""Example dialogues: questions of each category with several models' answers and judgments."""

import html
from collections.abc import Sequence

from fusionchat.mt_bench.questions import Question
from fusionchat.scores.benchmark import category_order, full_name
from fusionchat.scores.rows import Row
from fusionchat.tables.case_study import answer_block
from fusionchat.tables.examples import Examples

INTRODUCTION = (
    "<p>The first questions of each category, both turns: every model's first answer with the "
    "judge's rating from 1 to 10. The judgment unfolds.</p>"
)


def dialogue_section(
    questions: Sequence[Question], rows: Sequence[Row], examples: Examples, count: int
) -> str:
    """A filter (shown when scripts run) and the first `count` questions of each category."""
    chosen: list[Question] = []
    for category in sorted({q.category for q in questions}, key=category_order):
        chosen += [q for q in questions if q.category == category][:count]
    blocks = "".join(
        _example(question, rows, examples, opened=index == 0)
        for index, question in enumerate(chosen)
    )
    return INTRODUCTION + _filter([q.category for q in chosen], rows) + blocks


def _filter(categories: Sequence[str], rows: Sequence[Row]) -> str:
    options = "".join(
        f'<option value="{html.escape(c, quote=True)}">{html.escape(full_name(c))}</option>'
        for c in dict.fromkeys(categories)
    )
    models = "".join(
        f'<option value="{html.escape(row.name, quote=True)}">{html.escape(row.label)}</option>'
        for row in rows
    )
    return (
        '<form id="filter" hidden>'
        '<label>Category <select id="category"><option value="">all</option>'
        f"{options}</select></label>"
        '<label>Model <select id="model"><option value="">all</option>'
        f"{models}</select></label>"
        f'<output id="shown">{len(categories)} of {len(categories)} questions</output></form>'
    )


def _example(question: Question, rows: Sequence[Row], examples: Examples, *, opened: bool) -> str:
    answered = {row.name: examples.answered(row.name, question) for row in rows}
    parts = []
    for turn, text in enumerate(question.turns):
        parts.append(f'<p class="user">{html.escape(text)}</p><div class="answers">')
        parts += [answer_block(row, answered[row.name][turn]) for row in rows]
        parts.append("</div>")
    first = question.turns[0]
    title = first if len(first) <= 90 else first[:87].rstrip() + "..."
    return (
        f'<details class="example" data-category="{html.escape(question.category, quote=True)}"'
        f"{' open' if opened else ''}><summary><b>{html.escape(full_name(question.category))} "
        f"{question.question_id}</b> {html.escape(title)}</summary>{''.join(parts)}</details>"
    )
