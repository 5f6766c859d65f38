import json
from collections import Counter
from itertools import pairwise

import pytest

import make_pretraining
import make_world
from fusionchat.categories import CATEGORIES
from fusionchat.errors import UserError
from fusionchat.files import read_json, read_jsonl
from fusionchat.world.generator import SHARES, World
from fusionchat.world.mixture import as_record, specialist_weights
from fusionchat.world.rules import rate


@pytest.mark.parametrize("category", CATEGORIES)
def test_reference_answers_get_full_marks_and_swapped_ones_do_not(category):
    exercises = World(1).distinct(category, "validation", 40)
    for exercise in exercises:
        for (_, answer), rule in zip(exercise.turns, exercise.rules, strict=True):
            assert rate(rule, answer)[0] == 10
    swapped = [rate(one.rules[0], other.turns[0][1])[0] for one, other in pairwise(exercises)]
    assert sum(swapped) / len(swapped) < 7


def test_one_seed_gives_one_world_and_another_seed_another():
    first, again, other = World(1), World(1), World(2)
    assert first.balanced("mixture", 80) == again.balanced("mixture", 80)
    assert first.balanced("mixture", 80) != other.balanced("mixture", 80)


def test_purposes_share_no_first_prompt():
    world = World(3)
    prompts = {
        purpose: {
            exercise.prompts[0]
            for category in CATEGORIES
            for exercise in world.distinct(category, purpose, 50)
        }
        for purpose in SHARES
    }
    for purpose, mine in prompts.items():
        others = set().union(*(theirs for name, theirs in prompts.items() if name != purpose))
        assert not mine & others


def test_shares_of_purposes_are_as_declared():
    world = World(1)
    counts = Counter(world.purpose(f"prompt {number}") for number in range(4000))
    for purpose, share in SHARES.items():
        assert counts[purpose] / 4000 == pytest.approx(share, abs=0.03)


def test_facts_stay_the_same_in_all_dialogues_of_a_world():
    world = World(1)
    answers = {}
    for purpose in SHARES:
        for exercise in world.distinct("stem", purpose, 60):
            words = exercise.prompts[0].lower().rstrip("?.").replace(":", "").split()
            key = (
                next(word for word in words if word.endswith("ium")),
                next(word for word in words if word in ("colour", "smell", "use")),
            )
            value = exercise.rules[0]["answer"]
            assert answers.setdefault(key, value) == value


def test_balanced_takes_equally_many_of_each_category():
    counts = Counter(exercise.category for exercise in World(1).balanced("mixture", 83))
    assert set(counts) == set(CATEGORIES)
    assert max(counts.values()) - min(counts.values()) == 1


def test_specialists_see_mostly_their_categories():
    weights = specialist_weights(("math", "coding"), 0.9)
    assert weights["math"] == pytest.approx(0.45)
    assert weights["stem"] == pytest.approx(0.1 / 6)
    assert sum(weights.values()) == pytest.approx(1)
    assert set(specialist_weights((), 0.9).values()) == {1 / 8}
    with pytest.raises(UserError, match="strong_share"):
        specialist_weights(("math",), 1.5)


def test_more_exercises_than_the_world_has_is_a_clear_error():
    with pytest.raises(UserError, match=r"only .* roleplay exercises"):
        World(1).distinct("roleplay", "questions", 10_000)


def test_programs_write_disjoint_data_reproducibly(tmp_path):
    def build(folder):
        common = ["--seed", "2"]
        strong = ["--strong", "math", "stem", "--strong-share", "0.5"]
        make_world.main(
            [*common, "--mixture", "60", "--questions", "40", "--output", str(folder / "world")]
        )
        output = folder / "pretraining" / "a.json"
        make_pretraining.main(
            [*common, "--name", "a", "--dialogues", "900", "--output", str(output), *strong]
        )
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }

    assert build(tmp_path / "one") == build(tmp_path / "two")
    questions = read_jsonl(tmp_path / "one/world/questions.jsonl")
    assert Counter(question["category"] for question in questions) == dict.fromkeys(CATEGORIES, 40)
    assert len({question["question_id"] for question in questions}) == 320
    assert all(len(question["turns"]) == len(question["rules"]) == 2 for question in questions)
    asked = {question["turns"][0] for question in questions}
    trained = read_json(tmp_path / "one/world/mixture.json")
    trained += read_json(tmp_path / "one/pretraining/a.json")
    assert not asked & {record["conversations"][0]["value"] for record in trained}


def test_records_have_the_released_form():
    exercise = World(1).distinct("math", "mixture", 1)[0]
    record = json.loads(json.dumps(as_record(exercise)))
    assert [message["from"] for message in record["conversations"]] == ["human", "gpt"] * 2
    assert record["category"] == "math"
