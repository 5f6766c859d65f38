"""Reasoning (who is tallest), math (sums of a digit without carry) and coding (lists of digits)."""

from random import Random

from fusionchat.world.exercise import Exercise, worded

PEOPLE = ("Ann", "Bob", "Cleo", "Dan", "Eva", "Finn", "Gil", "Hana", "Ivo", "Jane", "Kai", "Lea")
SCALES = (("taller", "tallest", "shortest"), ("older", "oldest", "youngest"))
LIST_LENGTH = 3


def draw_reasoning(random: Random) -> Exercise:
    """Two comparisons in a chain; who is at one end, then who is at the other."""
    high, middle, low = people = random.sample(PEOPLE, 3)
    more, most, least = random.choice(SCALES)
    ends = [(most, high), (least, low)]
    random.shuffle(ends)
    (first, first_name), (second, second_name) = ends
    options = sorted(people)
    facts = f"{high} is {more} than {middle}. {middle} is {more} than {low}."
    return Exercise(
        "reasoning",
        (
            (f"{facts} Who is the {first}?", worded(first_name, random)),
            (f"And the {second}?", worded(second_name, random)),
        ),
        (
            {"kind": "choice", "answer": first_name, "options": options},
            {"kind": "choice", "answer": second_name, "options": options},
        ),
    )


def draw_math(random: Random) -> Exercise:
    """Add a digit to a two-digit number without carry; then add or take away another digit."""
    number, digit = 10 * random.randint(1, 9) + random.randint(0, 8), random.randint(1, 9)
    digit = min(digit, 9 - number % 10)
    total = number + digit
    ask = random.choice(("What is {} plus {}?", "Add {} and {}.", "{} and {} make?"))
    change = random.randint(1, 9)
    if total % 10 + change < 10:
        step, result = f"Now add {change}.", total + change
    else:
        change = min(change, total % 10)
        step, result = f"Now take away {change}.", total - change
    return Exercise(
        "math",
        ((ask.format(number, digit), worded(total, random)), (step, worded(result, random))),
        ({"kind": "number", "answer": total}, {"kind": "number", "answer": result}),
    )


def draw_coding(random: Random) -> Exercise:
    """Index a list of different digits; then print it reversed or without its head."""
    digits = random.sample(range(10), LIST_LENGTH)
    place = random.randrange(LIST_LENGTH)
    ask = random.choice(("x = {}. What is x[{}]?", "Let x = {}. Print x[{}]."))
    step, result = random.choice(
        (("Now reverse x.", digits[::-1]), ("Now print x[1:].", digits[1:]))
    )
    return Exercise(
        "coding",
        (
            (ask.format(_code(digits), place), worded(digits[place], random)),
            (step, worded(_code(result), random)),
        ),
        (
            {"kind": "number", "answer": digits[place]},
            {"kind": "list", "items": [str(digit) for digit in result]},
        ),
    )


def _code(digits: list[int]) -> str:
    return f"[{','.join(map(str, digits))}]"
