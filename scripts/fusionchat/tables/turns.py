"""Averages by dialogue turn: the second half of Table 2 and the paper's Figure 1."""

from collections.abc import Sequence

from fusionchat.scores.comparisons import Score, score_models
from fusionchat.tables.table import Table, fixed, span
from fusionchat.tables.views import AVERAGE, Findings, grouped

ORDINALS = {1: "First turn", 2: "Second turn"}


def turn_scores(findings: Findings) -> dict[int, dict[str, Score]]:
    """The Average of each row in each turn, with intervals."""
    names = [row.name for row in findings.rows]
    return {
        turn: {
            name: scores[AVERAGE]
            for name, scores in score_models(findings.benchmark, names, turn=turn).items()
        }
        for turn in findings.benchmark.turns
    }


def turn_table(findings: Findings, by_turn: dict[int, dict[str, Score]]) -> Table:
    """First turn, second turn and Average of each row."""
    cells = {}
    for row in findings.rows:
        scores = [by_turn[turn][row.name] for turn in by_turn] + [
            findings.scores[row.name][AVERAGE]
        ]
        cells[row.name] = [text for s in scores for text in (fixed(s.mean), span(s.low, s.high))]
    columns = ["Model"]
    for title in (*(ORDINALS.get(turn, f"Turn {turn}") for turn in by_turn), "Average"):
        columns += [title, "95% interval"]
    return Table("Average by dialogue turn", columns, grouped(findings.rows, cells))


def with_turns(
    records: Sequence[dict[str, object]], by_turn: dict[int, dict[str, Score]]
) -> list[dict[str, object]]:
    """The csv records with the averages of each turn added."""
    result = []
    for record in records:
        extra: dict[str, object] = {}
        for turn, scores in by_turn.items():
            score = scores[str(record["model"])]
            extra |= {f"turn{turn}": score.mean}
            extra |= {f"turn{turn}_low": score.low, f"turn{turn}_high": score.high}
        result.append({**record, **extra})
    return result
