"""MuSiQue: questions composed of up to four hops, each of which is recorded."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from zlib import crc32

from langchain_divconq.types import references
from training.data.plans import normalise_subquestion
from training.data.sources.relations import ask_relation
from training.data.sources.rows import Files, Row
from training.example import ONE_STEP, Example, Recorded, Split

FILES: Files = {
    "train": (
        "musique/musique-qa__auto-cot_train.json",
        "musique/musique_train_decompositions.json",
        "musique/more/musique_train_100/musique_train.json",
    ),
    "dev": ("musique/musique_dev_500.json",),
}
SILVER: Files = {"train": ("musique/more/musique_train_silver/musique_train_silver.json",)}
COMPOSED: Files = {"train": ("musique/more/composed_sample/sample.json",)}

_LONGEST_CONTEXT = 220  # words: an example with a longer one costs as much as five without
_WITH_CONTEXT = 20
"""Percent of the training questions with short enough evidence that are asked with it as context."""

_SAME_TAIL = {2: 4, 3: 8, 4: 8}
"""By the number of hops, most plans joined from recorded hops that end in the same one: a few end hundreds of them."""

_WORD = re.compile(r"[^\W_]+")
# What may follow a reference at the end of a composed chain: much else belongs to the place the hop was written for.
_CLEAN_TAIL = re.compile(r"#\d(?: (?:located|in|from|born|founded|buried|die|written|built))?\?")
_QUESTION_WORD = re.compile(r"\b(?:who|whom|whose|what|when|where|which|why|how)\b", re.IGNORECASE)
# "The town where he died" asks nothing; "the town is where" does.
_QUESTION_WORD_OF_PHRASE = re.compile(r"\b(?:whom|whose|what|which|how|(?:who|where|when)$)\b", re.IGNORECASE)
_POINTING = re.compile(r"\b(?:this|that|these|those|they|he|she|her|his|it|its)\b", re.IGNORECASE)
_AUXILIARY = re.compile(
    r"(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|in|on|at|to)\b", re.IGNORECASE
)


def musique(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield the questions with their hops. Some training questions have their evidence as context."""
    for name, row, hops in _unique(rows, split):
        question, context = row["question"].strip(), None
        evidence = "\n".join(hop["evidence"].strip() for hop in hops if hop.get("evidence"))
        if split == "train" and evidence and len(evidence.split()) <= _LONGEST_CONTEXT:
            context = evidence if crc32(name.encode()) % 100 < _WITH_CONTEXT else None
        answers = tuple(dict.fromkeys([row["answer"], *row.get("answer_aliases", [])]))
        plan = tuple(ask_hop(hop["question"], question) for hop in hops)
        subanswers = tuple(str(hop["answer"]) for hop in hops)
        recorded = Recorded(subquestions=plan, subanswers=subanswers, prediction=row["answer"])
        yield Example.of(source, split, name, question, context=context, answers=answers, recorded=recorded)


def silver(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield training questions with plans joined from recorded hops, a few for each last hop."""
    tails: Counter[str] = Counter()

    def rare(row: Row) -> bool:
        tail = f"{len(row['hops'])} {row['hops'][-1]['question'].casefold()}"
        tails[tail] += 1
        return tails[tail] <= _SAME_TAIL[len(row["hops"])]

    yield from musique(filter(rare, rows), source, split)


def composed(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield questions composed of recorded hops by templates, without answers, where they end as a person would."""
    for number, row in enumerate(rows):
        plan = tuple(normalise_subquestion(hop["question"]) for hop in row["hops"])
        if _CLEAN_TAIL.search(plan[-1]):
            recorded = Recorded(subquestions=plan)
            yield Example.of(source, split, f"{split}-{number}", row["question"].strip(), recorded=recorded)


def one_step(rows: Iterable[Row], source: str, split: Split) -> Iterator[Example]:
    """Yield the hops that need no other as questions of their own. Some in training have their evidence as context."""
    seen = set()
    for name, row, hops in _unique(rows, split):
        for number, hop in enumerate(hops, start=1):
            question = ask_hop(hop["question"], row["question"])
            if references(question) or question.casefold() in seen or not _stands_alone(question):
                continue
            seen.add(question.casefold())
            evidence = (hop.get("evidence") or "").strip() if split == "train" else ""
            known = {"answers": (str(hop["answer"]),), "recorded": ONE_STEP}
            if evidence and len(evidence.split()) <= _LONGEST_CONTEXT:
                known["context"] = evidence
            yield Example.of(source, split, f"{name}/{number}", question, **known)


def ask_hop(hop: str, question: str) -> str:
    """Return a hop as a question: some are an entity and a relation, some a mere phrase, many are in lower case.

    The question it belongs to shows how names are written.
    """
    text = normalise_subquestion(hop).rstrip("?")
    if ">>" in text:
        subject, relation = text.split(">>", 1)
        return normalise_subquestion(ask_relation(subject.strip(), relation.strip()))
    asks = _QUESTION_WORD_OF_PHRASE if text.casefold().startswith(("the ", "a ", "an ")) else _QUESTION_WORD
    if not asks.search(text) and not _AUXILIARY.match(text):
        text = f"What is {text[:1].lower()}{text[1:]}"
        if not text.startswith(("What is the ", "What is a ", "What is #")):
            text = text.replace("What is ", "What is the ", 1)
    return normalise_subquestion(_restore_case(text, question))


def _stands_alone(question: str) -> bool:
    """Whether a hop names what it is about, as far as can be told: not "Where did this movement originate?"."""
    words = _WORD.findall(question)
    return not _POINTING.search(question) and any(word[0].isupper() or word[0].isdigit() for word in words[1:])


def _restore_case(text: str, question: str) -> str:
    """Write a word as the question writes it, if the question always does; its first word proves nothing."""
    written: dict[str, set[str]] = {}
    for word in _WORD.findall(question)[1:]:
        written.setdefault(word.casefold(), set()).add(word)
    return _WORD.sub(lambda match: min(found) if len(found := written.get(match[0], set())) == 1 else match[0], text)


def _unique(rows: Iterable[Row], split: Split) -> Iterator[tuple[str, Row, list[Row]]]:
    seen = set()
    for number, row in enumerate(rows):
        hops = row.get("decomposition") or row.get("hops") or _hub_hops(row)
        key = row["question"].strip().casefold()
        if key not in seen:
            seen.add(key)
            yield f"{split}-{number}", row, hops


def _hub_hops(row: Row) -> list[Row]:
    paragraphs = {paragraph["idx"]: paragraph["paragraph_text"] for paragraph in row["paragraphs"]}
    return [{**hop, "evidence": paragraphs.get(hop["paragraph_support_idx"])} for hop in row["question_decomposition"]]
