"""2WikiMultihopQA: questions over two entities or more, with the facts they rest on as subject, relation, object.

The dataset records no subquestions: those are made of the facts by templates of ours. The comparison that many
questions end in is left to the question itself.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from training.data.sources.relations import ask_relation
from training.data.sources.rows import Files, Row
from training.example import ONE_STEP, Example, Recorded, Split

FILES: Files = {"train": ("wiki2/2wiki_train_500.json", "wiki2/2wiki_train_qa_pairs_500.json")}

_PARENTHESES = re.compile(r"\s*\([^)]*\)")


class Fact(NamedTuple):
    """Subject, relation, object."""

    subject: str
    relation: str
    object: str


def wiki2(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield the questions, with subquestions where the question names what its facts are about."""
    for number, row in enumerate(rows):
        facts = _in_order(_facts(row), row["question"])
        plan = _subquestions(facts, row["question"])
        question, answer = row["question"].strip(), row["answer"]
        recorded = None if plan is None else Recorded(subquestions=plan, prediction=answer)
        yield Example.of(source, split, f"{split}-{number}", question, answers=(answer,), recorded=recorded)


def one_step(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield each question's first fact as a question of its own."""
    for number, row in enumerate(rows):
        fact = _facts(row)[0]
        question = _ask(plain_name(fact.subject), fact.relation, row["question"])
        yield Example.of(source, split, f"{split}-{number}", question, answers=(fact.object,), recorded=ONE_STEP)


def _facts(row: Row) -> list[Fact]:
    # From files a fact is one string, on the hub a list.
    facts = row.get("evidence") or row["evidences"]
    return [Fact(*(fact.split("->") if isinstance(fact, str) else fact)) for fact in facts]


def _in_order(facts: Sequence[Fact], question: str) -> list[Fact]:
    """Put two things compared in the order the question names them; what follows from each stays behind it."""
    asked = question.casefold()
    at = {fact: asked.find(plain_name(fact.subject).casefold()) for fact in facts}
    if -1 in at.values():
        return list(facts)
    return sorted(facts, key=lambda fact: at[fact])


def _subquestions(facts: Sequence[Fact], question: str) -> tuple[str, ...] | None:
    """Return one subquestion to a fact; None where a fact's subject is not named in the question."""
    subjects: list[int | str] = []
    for at, fact in enumerate(facts):
        earlier = next((n for n in range(at, 0, -1) if _same(fact.subject, facts[n - 1].object)), None)
        name = earlier or _name_in(question, fact.subject)
        if name is None and len(facts) == 2 and at == 1 and facts[0].object not in question:
            name = 1  # the same entity under another name
        if name is None:
            return None
        subjects.append(name)
    return tuple(
        _ask(f"#{subject}" if isinstance(subject, int) else subject, fact.relation, question)
        for subject, fact in zip(subjects, facts, strict=True)
    )


def _ask(subject: str, relation: str, question: str) -> str:
    if relation == "inception" and "founded" not in question and "start" in question:
        return f"When was {subject} started?"
    if relation == "country of citizenship" and "national" in question:
        return f"What is the nationality of {subject}?"
    return ask_relation(subject, relation)


def plain_name(name: str) -> str:
    """Return an entity's name without what tells it from others of that name."""
    return _PARENTHESES.sub("", name).strip()


def _same(subject: str, known: str) -> bool:
    shorter, longer = sorted((plain_name(subject).casefold(), plain_name(known).casefold()), key=len)
    return shorter == longer or shorter in longer.split(" of ")


def _name_in(question: str, subject: str) -> str | None:
    """Return a subject's name if the question names it. Its questions capitalise every word; the facts do not."""
    name = plain_name(subject)
    return name if name.casefold() in question.casefold() else None
