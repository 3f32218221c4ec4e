"""Questions of many kinds, made from templates of ours: as many as are asked for, the same for the same seed."""

import random

from langchain_divconq.types import Question

_NAMES = ("Mia", "Tomás", "Aiko", "Zeynep", "Bartholomew", "Li", "O'Neill", "Søren", "Priya", "Anne-Marie")
_THINGS = ("pens", "eggs", "marbles", "stamps", "litres of paint", "train tickets", "bricks", "euro coins")
_PLACES = ("Lund", "Kyoto", "São Paulo", "Reykjavík", "Nairobi", "Springfield", "Łódź", "Xi'an")
_WORKS = ("the opera Tosca", "the novel Emma", "the film Metropolis", "the song 'Waterloo'", "the play Peer Gynt")
_PASSAGE = (
    "{place} built its first bridge in {year}. It was {n} metres long and carried {m} carts a day. A flood took it "
    "{k} years later; {name}, then mayor, had a stone bridge built for {big} crowns, paid over {k} years."
)

_TEMPLATES = (
    "{name} has {n} boxes of {m} {things} and gives away {k}. How many {things} are left?",
    "{name} walks {n} km on Monday, twice as far on Tuesday and {k} km less on Wednesday. How far is that in all?",
    "A shop sells {n} {things} at ${m} each and {k} more at half the price. How much money does it take?",
    "Who is older: the author of {work} or the architect of the town hall of {place}?",
    "In which country was the composer born who taught the author of {work}?",
    "What is the capital of the country that {place} lies in?",
    "Did the mayor of {place} in {year} die before {name} was born?",
    "How many years passed between the first night of {work} and the opening of the harbour of {place}?",
    "What is {n} + {m}?",
    "Is {place} north of {place2}?",
    "Name the river.",
    "Why?",
    "{name} and {name2} share {n} {things} in the ratio {k}:{m}. {name} then loses a third of hers. Who has more?",
    "Which of {work} and {work2} came out first, and by how many years?",
    "How many yards longer was the longest field goal than the second longest?",
    "If #1 is the best-seller of {year} and #2 the runner-up, which sold more copies in {place}?",
    "¿Cuántos años tenía {name} cuando se estrenó {work}?",
    "{place}の人口は{place2}の人口の何倍ですか?",
    "list the steps to compute ({n} * {m}) - {k} / 2 and give me the result",
    "1. What is {n}?\n2. What is {m}?\n3. What is their sum?",
    "WHO WROTE {work}??? And how old was that person in {year}?!",
    "A tank holds {big} litres. {n} % is used on day one, {k} litres on day two. How full is it, in per cent?",
)


def questions(count: int, seed: int) -> list[Question]:
    """Return `count` questions; about one in five has a passage."""
    random_ = random.Random(seed)
    made = []
    for number in range(count):
        values = {
            "name": random_.choice(_NAMES),
            "name2": random_.choice(_NAMES),
            "things": random_.choice(_THINGS),
            "place": random_.choice(_PLACES),
            "place2": random_.choice(_PLACES),
            "work": random_.choice(_WORKS),
            "work2": random_.choice(_WORKS),
            "n": random_.randint(2, 60),
            "m": random_.randint(2, 40),
            "k": random_.randint(2, 9),
            "big": random_.randint(1_000, 90_000),
            "year": random_.randint(1800, 2020),
        }
        context = _PASSAGE.format(**values) if random_.random() < 0.2 else None
        made.append(Question(text=_TEMPLATES[number % len(_TEMPLATES)].format(**values), context=context))
    return made
