"""Multi-hop questions as they are published, each with its own distractors: MuSiQue, HotpotQA, 2WikiMultihopQA.

A file `NAME.json` holds the questions, as a JSON list or as JSON lines, in the datasets' own form. What is searched is
`NAME_corpus.json` beside it (`{"title", "text"}` a row) or, where there is none, the paragraphs of all questions. So
the full sets that others measure on need no conversion.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from langchain_core.documents import Document

from training.data.plans import Unusable, recorded_plan
from training.data.sources.musique import musique
from training.data.sources.relations import ask_relation
from training.data.sources.rows import Row, read_file
from training.data.sources.two_hop import hotpotqa
from training.data.sources.wiki2 import plain_name, wiki2
from training.example import Example
from training.measure.corpus import Hop, MultiHop, hops_of

_MOST_HOPS = 9


def load_published(path: Path, left_out: Path | None = None) -> tuple[list[Document], list[MultiHop]]:
    """Return the passages around a file's questions, and those questions whose gold passages are among them.

    A passage is there once, title and text, with the title as metadata, in the files' order. `left_out` holds MuSiQue
    questions on which something was chosen: those are not asked. Their passages stay.

    Raises:
        ValueError: A file is missing, or its rows are in no form that is known.
    """
    rows = _rows(path)
    corpus = path.with_name(f"{path.stem}_corpus.json")
    if corpus.is_file():
        texts = ((row["title"], row["text"]) for row in _rows(corpus))
    else:
        texts = (pair for row in rows for pair in _paragraphs(row))
    documents = {name(title, text): (title, " ".join(text.split())) for title, text in texts}
    known = set() if left_out is None else {_asked(row["question"]) for row in _rows(left_out)}
    questions = [
        one
        for one in _questions(rows, path)
        if _asked(one.example.question) not in known and one.gold and set(one.gold) <= documents.keys()
    ]
    if not questions:
        raise ValueError(
            f"{path} holds no question whose gold passages are among the passages. Expected the form of MuSiQue, "
            "HotpotQA or 2WikiMultihopQA, with the passages in it or in a corpus beside it."
        )
    found = [
        Document(f"{title}\n{text}", id=key, metadata={"title": title}) for key, (title, text) in documents.items()
    ]
    return found, questions


def name(title: str, text: str) -> str:
    """Return a passage's id: of its title and text alone, spacing left out, since the sets write it differently."""
    return hashlib.sha256("".join(f"{title}{text}".split()).encode()).hexdigest()[:12]


def _questions(rows: Sequence[Row], path: Path) -> Iterator[MultiHop]:
    if all("question_decomposition" in row for row in rows):
        return _musique(rows)
    if any("evidences" in row for row in rows):
        return _wiki2(rows)
    if all("supporting_facts" in row for row in rows):
        return _hotpotqa(rows)
    raise ValueError(f"{path} is in no form that is known: expected question_decomposition or supporting_facts.")


def _musique(rows: Sequence[Row]) -> Iterator[MultiHop]:
    by_question = {row["question"].strip(): row for row in reversed(rows)}
    for example in musique(rows, "musique", "dev"):
        row = by_question[example.question]
        paragraphs = {one["idx"]: name(one["title"], one["paragraph_text"]) for one in row["paragraphs"]}
        gold = tuple(paragraphs[hop["paragraph_support_idx"]] for hop in row["question_decomposition"])
        answers = (example.recorded and example.recorded.subanswers) or ()
        hops: tuple[Hop, ...] = ()
        with suppress(Unusable):
            plan = recorded_plan(example, _MOST_HOPS, "drop")
            hops = hops_of(plan, answers, gold) if len(plan) == len(answers) == len(gold) else ()
        yield MultiHop(_named(example, row["id"]), hops, tuple(dict.fromkeys(gold)))


def _wiki2(rows: Sequence[Row]) -> Iterator[MultiHop]:
    for example, row in zip(wiki2(rows, "wiki2", "dev"), rows, strict=True):
        gold = _supporting(row)
        facts = [tuple(fact) for fact in row["evidences"]]
        plan = _plan_of_facts(facts, row["question"])
        hops = hops_of(plan, [fact[2] for fact in facts], [*gold, *gold[:1] * len(facts)]) if plan else ()
        yield MultiHop(_named(example, row["_id"]), hops, gold)


def _hotpotqa(rows: Sequence[Row]) -> Iterator[MultiHop]:
    for example, row in zip(hotpotqa(rows, "hotpotqa", "dev"), rows, strict=True):
        yield MultiHop(example, (), _supporting(row))


def _plan_of_facts(facts: Sequence[Sequence[str]], question: str) -> tuple[str, ...]:
    """Return a subquestion to each fact; none where a subject is neither an earlier object nor in the question."""
    plan, objects = [], [plain_name(fact[2]).casefold() for fact in facts]
    for at, (subject, relation, _) in enumerate(facts):
        name = plain_name(subject)
        earlier = next((n for n in range(at, 0, -1) if objects[n - 1] == name.casefold()), None)
        if earlier is None and name.casefold() not in question.casefold():
            return ()
        plan.append(ask_relation(f"#{earlier}" if earlier else name, relation))
    return tuple(plan)


def _supporting(row: Row) -> tuple[str, ...]:
    titles = {title for title, _ in row["supporting_facts"]}
    return tuple(dict.fromkeys(name(*pair) for pair in _paragraphs(row) if pair[0] in titles))


def _paragraphs(row: Row) -> Iterator[tuple[str, str]]:
    """Yield a question's own paragraphs, gold ones and distractors: title and text."""
    for one in row.get("paragraphs") or ():
        yield one["title"], one["paragraph_text"]
    for title, sentences in row.get("context") or ():
        yield title, " ".join(sentences)


def _rows(path: Path) -> list[Row]:
    if not path.is_file():
        raise ValueError(f"There is no file {path}. Put it there, or set search.published to where it is.")
    return [*read_file(path)]


def _named(example: Example, row_id: str) -> Example:
    return example.model_copy(update={"id": f"{example.source}/{row_id}"})


def _asked(question: str) -> str:
    return " ".join(question.casefold().split())
