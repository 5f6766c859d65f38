import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import yaml

import make_mixture
import make_pretraining
import make_tasks
import make_world
from fusionchat.categories import CATEGORIES
from fusionchat.dialogues.mixture import Report, hold_out, read_mixture
from fusionchat.errors import UserError
from fusionchat.files import read_json, read_jsonl
from fusionchat.world.generator import SHARES, World
from fusionchat.world.mixture import as_record, specialist_weights
from fusionchat.world.rules import rate
from fusionchat.world.wrong_answers import with_wrong_answers


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


def test_tasks_are_the_benchmark_s_first_turns_and_their_examples_are_others(tmp_path):
    folder = tmp_path / "tasks"
    make_tasks.main(["--seed", "2", "--questions", "4", "--output", str(folder)])
    for name, categories in (("world_choice", 4), ("world_number", 2)):
        documents, examples = (
            read_jsonl(folder / f"{name}.{split}.jsonl") for split in ("test", "validation")
        )
        assert len(documents) == len(examples) == 4 * categories
        asked = {one["question"] for one in documents}
        assert asked.isdisjoint(one["question"] for one in examples)
        asked_in_benchmark = {q["turns"][0] for q in make_world.questions(World(2), 4)}
        assert asked <= asked_in_benchmark
        task = yaml.safe_load((folder / f"{name}.yaml").read_text())
        assert all(Path(file).is_file() for file in task["dataset_kwargs"]["data_files"].values())
    choices = read_jsonl(folder / "world_choice.test.jsonl")
    assert all(one["answer"] in one["options"] for one in choices)


def test_programs_write_disjoint_data_reproducibly(tmp_path):
    def build(folder):
        common = ["--seed", "2"]
        strong = ["--strong", "math", "stem", "--strong-share", "0.5"]
        make_world.main([*common, "--questions", "40", "--output", str(folder / "world")])
        mixture = str(folder / "mixture.json")
        make_mixture.main([*common, "--mixture", "60", "--output", mixture])
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
    trained = read_json(tmp_path / "one/mixture.json")
    trained += read_json(tmp_path / "one/pretraining/a.json")
    assert not asked & {record["conversations"][0]["value"] for record in trained}


def test_records_have_the_released_form():
    exercise = World(1).distinct("math", "mixture", 1)[0]
    record = json.loads(json.dumps(as_record(exercise)))
    assert [message["from"] for message in record["conversations"]] == ["human", "gpt"] * 2
    assert record["category"] == "math"


TRAINED, HELD_OUT = 320, 80


def generated(folder, share, *options):
    """Training and held-out records of a mixture with this share of wrong answers."""
    output = folder / "mixture.json"
    argv = ["--seed", "2", "--mixture", str(TRAINED + HELD_OUT), "--heldout", str(HELD_OUT)]
    make_mixture.main([*argv, "--wrong-answers", share, *options, "--output", str(output)])
    records = read_json(output)
    return records[:-HELD_OUT], records[-HELD_OUT:]


def texts(record, speaker):
    return tuple(m["value"] for m in record["conversations"] if m["from"] == speaker)


def is_right(record):
    """Whether both answers fulfil the rules of their prompts; one alone must not."""
    exercise = EXERCISES[texts(record, "human")]
    ratings = [rate(r, a)[0] for r, a in zip(exercise.rules, texts(record, "gpt"), strict=True)]
    assert (ratings[0] == 10) == (ratings[1] == 10)
    return ratings[0] == 10


EXERCISES = {one.prompts: one for one in World(2).balanced("mixture", TRAINED + HELD_OUT)}


@pytest.mark.parametrize("share", ["0", "0.25", "0.5", "1"])
def test_exactly_a_share_of_the_training_answers_is_wrong_in_each_category(tmp_path, share):
    train, held_out = generated(tmp_path, share)
    assert (train, held_out) == generated(tmp_path, share)
    assert all(is_right(record) for record in held_out)
    wrong = Counter(record["category"] for record in train if not is_right(record))
    everything = Counter(record["category"] for record in train)
    assert wrong.total() == TRAINED * float(share)
    assert all(abs(wrong[name] - n * float(share)) < 1 for name, n in everything.items())


def test_wrong_answers_are_exchanged_and_change_nothing_else(tmp_path):
    clean, held_out = generated(tmp_path, "0")
    quarter, half = generated(tmp_path, "0.25"), generated(tmp_path, "0.5")
    assert quarter[1] == half[1] == held_out
    for train, _ in (quarter, half):
        assert [texts(r, "human") for r in train] == [texts(r, "human") for r in clean]
        assert [r == c for r, c in zip(train, clean, strict=True)] == list(map(is_right, train))
        said = [Counter((r["category"], texts(r, "gpt")) for r in part) for part in (train, clean)]
        assert said[0] == said[1]
    spoilt = [{texts(r, "human") for r in train if not is_right(r)} for train, _ in (quarter, half)]
    assert spoilt[0] < spoilt[1]


def test_fewer_dialogues_are_the_first_ones_and_the_same_are_held_out(tmp_path):
    train, held_out = generated(tmp_path, "0")
    few = generated(tmp_path, "0", "--dialogues", "160")
    assert few == (train[:160], held_out)
    spoilt, kept = generated(tmp_path, "0.5", "--dialogues", "160")
    assert kept == held_out
    assert [texts(r, "human") for r in spoilt] == [texts(r, "human") for r in train[:160]]
    assert sum(not is_right(record) for record in spoilt) == 80


@pytest.mark.parametrize("share", [0.04, 0.5, 1.0])
def test_few_dialogues_lose_the_share_but_for_one(share):
    few = World(1).balanced("mixture", 27)
    mixed = with_wrong_answers(few, share, Random(1))
    changed = Counter(a.category for a, b in zip(few, mixed, strict=True) if a != b)
    assert 1 not in changed.values()
    assert abs(changed.total() - 27 * share) <= 1.5


def test_the_same_dialogues_are_held_out_whatever_their_answers(tmp_path):
    for share in ("0", "0.5"):
        train, held_out = generated(tmp_path, share)
        dialogues = read_mixture(tmp_path / "mixture.json", False, Report())
        assert [d.dialogue_id for d in hold_out(dialogues, HELD_OUT)[1]] == [
            record["id"] for record in held_out
        ]
        assert not {texts(r, "human") for r in train} & {texts(r, "human") for r in held_out}
