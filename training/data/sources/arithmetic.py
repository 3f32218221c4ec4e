"""Word problems of one calculation, in sentences of ours. A student learns from them to leave such a problem whole."""

from collections.abc import Iterator
from random import Random

from training.example import ONE_STEP, Example, Split

COUNT = 400
"""How many problems there are; a config's `limit` takes some of them."""

_SEED = 5
_NAMES = ("Ada", "Ben", "Carla", "Dev", "Elif", "Farid", "Gina", "Hugo", "Ines", "Jun", "Kofi", "Lena", "Milo", "Nadia")
_THINGS = ("apples", "stickers", "marbles", "books", "stamps", "cookies", "pencils", "shells", "beads", "eggs", "cards")
_PLACES = ("shop", "school", "library", "bakery", "farm", "museum", "club", "hotel")
# {n} and {m} are two people, {t} things, {p} a place; {a} is the larger number and {b} the smaller one.
_TEMPLATES = (
    "{n} has {a} {t} and gets {b} more from {m}. How many {t} does {n} have now?",
    "{n} has {a} {t}. {m} has {b} {t}. How many {t} do they have together?",
    "There are {a} {t} on one table and {b} on another. How many {t} is that in all?",
    "{n} walks {a} minutes in the morning and {b} minutes in the evening. How many minutes does {n} walk that day?",
    "A {p} sells {a} {t} on Monday and {b} on Tuesday. How many {t} does it sell on the two days?",
    "A coat costs ${a} and a scarf costs ${b}. What do they cost together?",
    "{n} is {b} years older than {m}, who is {a}. How old is {n}?",
    "{n} had {a} {t} and gave {b} of them to {m}. How many {t} are left?",
    "Of the {a} children at a {p}, {b} are at home with a cold. How many are there today?",
    "{n} needs {a} {t} and has {b}. How many more {t} does {n} need?",
    "A rope is {a} metres long. {n} cuts off {b} metres. How long is the rest?",
    "{n} is {a} years old and {m} is {b}. How many years older is {n}?",
    "{n} pays for a lamp of ${b} with ${a}. How much change does {n} get?",
    "A bus has {a} seats, and {b} of them are taken. How many seats are free?",
    "{n} read {a} pages last week and {m} read {b}. How many more pages did {n} read than {m}?",
    "A box holds {a} {t}. How many {t} are in {b} such boxes?",
    "{n} saves ${a} each month. How much has {n} saved after {b} months?",
    "A ticket to the {p} costs ${b}. What do {a} tickets cost?",
    "A car goes {a} kilometres in an hour. How far does it go in {b} hours?",
    "{n} reads {a} pages a day. How many pages does {n} read in {b} days?",
    "A garden has {b} rows of {a} plants each. How many plants are in the garden?",
    "{n} earns ${a} an hour and works {b} hours. How much does {n} earn?",
    "{m} has {a} {t}, and {n} has {b} times as many. How many {t} does {n} have?",
    "A {p} needs {a} {t} a day. How many {t} does it need for {b} days?",
    "{n} puts {c} {t} into bags of {b}. How many bags does {n} fill?",
    "{b} friends share {c} {t} equally. How many {t} does each get?",
    "{n} pays ${c} for {b} kilos of {t}. What does a kilo cost?",
    "A train takes {b} hours for {c} kilometres. How many kilometres is that in an hour?",
    "A book has {c} pages. {n} reads {b} pages a day. How many days does it take?",
    "{c} {t} are packed in {b} equal boxes. How many {t} are in a box?",
    "How many minutes are there in {b} hours?",
    "How many days are there in {b} weeks?",
    "What is {a} plus {b}?",
    "What is {b}% of {c}?",
    "{n} has {d} {t} and gives half of them away. How many {t} does {n} give away?",
    "A shirt of ${d} is sold at half its price. What does it cost now?",
    "{m} is {a}, and {n} is twice as old. How old is {n}?",
)


def one_step(source: str, split: Split) -> Iterator[Example]:
    """Yield the problems, the same ones every time.

    Raises:
        ValueError: Another split than "train" is asked for: they are made to train.
    """
    if split != "train":
        raise ValueError(
            f'Source "{source}" is there to train, and split "{split}" was asked for. Take another source.'
        )
    random = Random(_SEED)
    for number in range(COUNT):
        name, other = random.sample(_NAMES, 2)
        small = random.randint(2, 12)
        large = small + random.randint(1, 80)
        question = _TEMPLATES[number % len(_TEMPLATES)].format(
            n=name, m=other, t=random.choice(_THINGS), p=random.choice(_PLACES), a=large, b=small, c=large * small,
            d=2 * large,
        )  # fmt: skip
        yield Example.of(source, split, f"{split}-{number}", question, recorded=ONE_STEP)
