"""STEM and humanities: tables of invented facts that only training can teach."""

from collections.abc import Mapping
from random import Random

from fusionchat.world.exercise import Exercise, worded

ENTITIES = 24
ASKING = (
    "What is the {attribute} of {entity}?",
    "Tell me the {attribute} of {entity}.",
    "Name the {attribute} of {entity}.",
    "Do you know the {attribute} of {entity}?",
    "{entity}: which {attribute}?",
    "Say the {attribute} of {entity}.",
)
FOLLOWING = ("And the {}?", "What about its {}?", "Now the {}.")

ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z")
VOWELS = ("a", "e", "i", "o", "u")

SUBSTANCES = {
    "colour": ("blue", "red", "green", "white", "black", "pink", "grey", "gold"),
    "smell": ("mint", "smoke", "lemon", "honey", "tar", "grass", "salt", "garlic"),
    "use": ("glass", "paint", "soap", "glue", "fuel", "wire", "paper", "steel"),
}
LANDS = {
    "craft": ("pottery", "lace", "carving", "weaving", "maps", "mosaics", "masks", "clocks"),
    "dance": ("waltz", "jig", "tango", "reel", "polka", "samba", "rumba", "minuet"),
    "symbol": ("lion", "eagle", "crown", "sun", "oak", "anchor", "harp", "dragon"),
}


class Facts:
    """A table entity x attribute -> value that the world decides; names end in `ending`."""

    def __init__(
        self, category: str, ending: str, values: Mapping[str, tuple[str, ...]], random: Random
    ) -> None:
        self.category = category
        self.values = values
        stems = [f"{onset}{vowel}" for onset in ONSETS for vowel in VOWELS]
        self.table = {
            f"{stem}{random.choice(ONSETS)}{ending}": {
                attribute: random.choice(options) for attribute, options in values.items()
            }
            for stem in random.sample(stems, ENTITIES)
        }

    def draw(self, random: Random) -> Exercise:
        """Ask for one attribute of an entity; then for another of the same."""
        entity = random.choice(sorted(self.table))
        first, second = random.sample(sorted(self.values), 2)
        ask = random.choice(ASKING).format(attribute=first, entity=entity)
        follow = random.choice(FOLLOWING).format(second)
        answers = [self.table[entity][attribute] for attribute in (first, second)]
        return Exercise(
            self.category,
            (
                (ask[0].upper() + ask[1:], worded(answers[0], random)),
                (follow, worded(answers[1], random)),
            ),
            (
                {"kind": "choice", "answer": answers[0], "options": list(self.values[first])},
                {"kind": "choice", "answer": answers[1], "options": list(self.values[second])},
            ),
        )
