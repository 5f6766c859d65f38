"""Writing (a sentence with given words) and roleplay (a persona with a catchphrase)."""

from random import Random

from fusionchat.world.exercise import Exercise

NOUNS = (
    *("fox", "lamp", "river", "king", "boat", "tree", "moon", "bird", "cook", "drum"),
    *("hill", "rose", "wolf", "coin", "door", "fish", "star", "bell", "cake", "road"),
)
VERBS = ("sees", "likes", "finds", "wants", "hears", "meets")
PLACES = ("near", "behind", "under")

NAMES = (
    *("Pip", "Zara", "Bo", "Kim", "Lux", "Nia", "Oz"),
    *("Rex", "Tess", "Viv", "Ada", "Ned", "Uma", "Sol"),
)
ROLES = ("pirate", "robot", "wizard", "farmer", "knight", "baker", "spy", "clown", "nurse", "pilot")
CATCHPHRASES = ("ahoy", "beep", "hocus", "howdy", "hail", "yum", "hush", "haha", "cheers", "roger")
LOVES = ("gold", "oil", "spells", "corn", "swords", "bread", "secrets", "jokes", "care", "clouds")
HOMES = ("ship", "lab", "tower", "farm", "castle", "shop", "cellar", "circus", "clinic", "hangar")


def draw_writing(random: Random) -> Exercise:
    """Write a sentence with two words; then once more with a third."""
    first, second, third = random.sample(NOUNS, 3)
    verb, place = random.choice(VERBS), random.choice(PLACES)
    ask = random.choice(
        ("Write a sentence with {} and {}.", "Use {} and {} in a sentence.", "A line on {} and {}.")
    )
    again = random.choice(("Now add the word {}.", "Again, but with {} too."))
    return Exercise(
        "writing",
        (
            (ask.format(first, second), f"The {first} {verb} the {second}."),
            (again.format(third), f"The {first} {verb} the {second} {place} the {third}."),
        ),
        (
            {"kind": "sentence", "words": [first, second]},
            {"kind": "sentence", "words": [first, second, third]},
        ),
    )


class Personas:
    """Ten roles; the world decides the catchphrase, love and home of each."""

    def __init__(self, random: Random) -> None:
        columns = (random.sample(values, len(ROLES)) for values in (CATCHPHRASES, LOVES, HOMES))
        self.traits = dict(zip(ROLES, zip(*columns, strict=True), strict=True))

    def draw(self, random: Random) -> Exercise:
        """Introduce yourself in a role; then answer a question about yourself."""
        name, role = random.choice(NAMES), random.choice(ROLES)
        catchphrase, love, home = self.traits[role]
        ask = random.choice(
            ("You are {} the {}. Who are you?", "Act as {} the {}. Say hello.", "Be {} the {}.")
        )
        question, reply, fact = random.choice(
            (
                ("What do you love?", "I love {}", love),
                ("Where do you live?", "In my {}", home),
            )
        )
        greeting = catchphrase.capitalize()
        introduction = random.choice(
            (f"{greeting}! I am {name} the {role}.", f"I am {name} the {role}, {catchphrase}!")
        )
        reply = reply.format(fact)
        exclaimed = random.choice((f"{reply}, {catchphrase}!", f"{greeting}! {reply}."))
        return Exercise(
            "roleplay",
            (
                (ask.format(name, role), introduction),
                (question, exclaimed),
            ),
            (
                {"kind": "phrases", "phrases": [catchphrase, name, role]},
                {"kind": "phrases", "phrases": [fact, catchphrase]},
            ),
        )
