"""Extraction: copying fields from a record."""

from random import Random

from fusionchat.world.exercise import Exercise, worded
from fusionchat.world.logic import PEOPLE

FIELDS = {
    "name": PEOPLE,
    "city": ("Rome", "Oslo", "Bern", "Lima", "Cairo", "Paris", "Delhi", "Quito", "Seoul", "Accra"),
    "pet": ("cat", "dog", "hen", "goat", "pony", "duck", "frog", "crab", "mouse", "snake"),
    "job": ("judge", "guard", "tailor", "miner", "actor", "clerk", "poet", "smith", "vet", "maid"),
    "food": ("rice", "soup", "plums", "beans", "pasta", "figs", "nuts", "cheese", "pears", "eggs"),
}


def draw_extraction(random: Random) -> Exercise:
    """Give one field of a three-field record; then the two others."""
    fields = random.sample(sorted(FIELDS), 3)
    record = {field: random.choice(FIELDS[field]) for field in fields}
    text = ", ".join(f"{field} {value}" for field, value in record.items())
    one, two, three = random.sample(fields, 3)
    ask = random.choice(("Record: {}. Give the {}.", "From {}: what is the {}?"))
    return Exercise(
        "extraction",
        (
            (ask.format(text, one), worded(record[one], random)),
            (f"And the {two} and {three}?", worded(f"{record[two]} and {record[three]}", random)),
        ),
        (
            {"kind": "choice", "answer": record[one], "options": sorted(record.values())},
            {"kind": "list", "items": [record[two], record[three]]},
        ),
    )
