"""Multi-hop retrieval, measured: how many gold passages are found with a plan, how it is filled, and what that costs.

Each search goes through the library's own DecomposedRetriever. Records are durable, one a question and arm; plans and
the ids of the documents found are kept under the runs' folder, for whoever goes on and for the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from langchain_divconq.calls import as_message
from langchain_divconq.prompts import reading_prompt
from langchain_divconq.retrieval import DecomposedRetriever, Query, Search, fused, parse_reading
from langchain_divconq.types import Decomposition
from training.arms.corpus import SOURCE, MultiHop, corpus_fingerprint, passages, questions
from training.arms.plans import Planned, undivided, write_plans
from training.arms.preview import preview_readings
from training.arms.readers import Reader, parse_query, rewriting_prompt
from training.arms.records import AnswerRecord, Used, save_settings, shortened
from training.arms.retrieval_config import REFERENCE, REWRITE, RetrievalArm, RetrievalConfig, parse_arm
from training.arms.retrieval_records import Found, RetrievalRecord
from training.arms.retrieval_settings import arm_settings, plan_settings, shared_settings
from training.arms.search import load_retriever
from training.arms.solvers import Meter, ask_all, load_decomposer, load_solver, why_failed, why_no_reply
from training.example import choose
from training.store import Records, hold
from training.verdicts import judge


@dataclass(frozen=True)
class _Run:
    """What all arms share.

    Attributes:
        config: What the run is told.
        order: All questions, in the order the seed draws them.
        texts: The documents' texts, by id.
        retriever: Searches them.
        solver: Reads, rewrites and answers; None: nobody.
    """

    config: RetrievalConfig
    order: Sequence[MultiHop]
    texts: dict[str, str]
    retriever: BaseRetriever
    solver: Runnable[Any, Any] | None


def retrieve(
    config: RetrievalConfig,
    *,
    limit: int | None = None,
    arms: Sequence[str] = (),
    retry_failed: bool = False,
    solver: Runnable[Any, Any] | None = None,
    decomposer: Runnable[Any, Any] | None = None,
) -> None:
    """Measure arms, each question that has no record yet, and leave records and settings in the results' folder.

    Args:
        config: What is measured.
        limit: At most so many questions; a later call without it goes on from there.
        arms: Those alone; none: all of the config's.
        retry_failed: Whether questions to which a model gave no reply are asked again.
        solver: Takes the place of the config's chat model.
        decomposer: Takes the place of every decomposer's chat model.

    Raises:
        ValueError: There is no such arm, a file of data is missing, records were made under other settings, an answer
            is to be read from what was not searched for yet, or a model cannot be set up.
        Exception: What would fail every question alike (no key, no server), as it came.
    """
    chosen = _chosen(config, arms)
    if solver is None and config.solver is not None and any(arm.needs_solver for arm in chosen):
        solver = load_solver(config.solver)
    documents = passages(config.data)
    asked = {question.id: question for question in questions(config.data)}
    drawn = choose((question.example for question in asked.values()), None, config.seed)[SOURCE]
    texts = {str(document.id): document.page_content for document in documents}
    run = _Run(config, [asked[example.id] for example in drawn], texts, load_retriever(config, documents), solver)
    with hold(config.folder):
        most = min(limit or config.limit, config.limit)
        save_settings(
            config.results_folder,
            shared_settings(config, len(documents), corpus_fingerprint(documents)),
            {SOURCE: len(run.order[: config.limit])},
            {arm.name: arm_settings(config, arm) for arm in chosen},
        )
        for arm in chosen:
            if arm.answered is not None:
                _answer(run, arm, run.order[: min(most, config.answer_limit)], retry_failed)
            else:
                _search(run, arm, run.order[:most], retry_failed, decomposer)


def _chosen(config: RetrievalConfig, names: Sequence[str]) -> list[RetrievalArm]:
    if unknown := [name for name in names if name not in config.arms]:
        raise ValueError(f"There is no arm {unknown[0]!r} in {config.name}; there are {', '.join(config.arms)}.")
    return [parse_arm(name) for name in config.arms if not names or name in names]


def _search(
    run: _Run, arm: RetrievalArm, asked: Sequence[MultiHop], retry: bool, decomposer: Runnable[Any, Any] | None
) -> None:
    records = Records(run.config.results_folder / f"{arm.name}.jsonl", RetrievalRecord)
    found = Records(_found_file(run, arm.name), Found)
    if retry:
        again = {question.id for question in asked}
        records.drop(lambda record: record.failure is not None and record.id in again)
    # A killed run may leave what was found without its record, never the other way round.
    found.drop(lambda one: one.id not in records.records)
    left = [question for question in asked if question.id not in records.records]
    plans = _plans(run.config, arm, left, decomposer)

    async def one(question: MultiHop) -> None:
        record, documents = await (
            _rewritten(run, arm, question) if arm.name == REWRITE else _searched(run, arm, question, plans[question.id])
        )
        found.add(Found(id=question.id, documents=documents))
        records.add(record)

    _ask(run, arm, left, one, len(asked) - len(left))
    ids = [question.id for question in run.order]
    found.sort(ids)
    records.sort(ids)
    print(_summary(arm.name, list(records.records.values()), run.config.budgets), flush=True)


def _plans(
    config: RetrievalConfig, arm: RetrievalArm, asked: Sequence[MultiHop], model: Runnable[Any, Any] | None
) -> dict[str, Planned]:
    """Return the plan of each question; those that a model wrote before are taken from the runs' folder."""
    if arm.decomposer is None:
        return undivided([question.example for question in asked])
    if arm.decomposer == REFERENCE:
        return {
            one.id: Planned(id=one.id, decomposition=Decomposition(question=one.example.asked, subquestions=one.plan))
            for one in asked
        }
    options = config.decomposers[arm.decomposer]
    decomposer = load_decomposer(options, model)
    assert decomposer is not None
    return write_plans(
        [question.example for question in asked],
        decomposer,
        config.folder / "plans" / f"{arm.decomposer}.jsonl",
        plan_settings(arm.decomposer, options),
        concurrency=options.concurrency,
        title=f"{arm.decomposer}: plans",
    )


async def _searched(
    run: _Run, arm: RetrievalArm, question: MultiHop, planned: Planned
) -> tuple[RetrievalRecord, tuple[str, ...]]:
    """Return what a search through a plan comes to, and what it found."""
    meter, reader = Meter(), Reader(arm.fill or "unfilled", question.hops, run.solver)
    retriever = DecomposedRetriever(
        retriever=run.retriever,
        reader=reader,
        decomposer=RunnableLambda(lambda _: planned.decomposition),
        k=run.config.k,
        read_k=run.config.read_k,
    )
    # One search or reading after another: what is in flight is bounded by the questions at once.
    config: RunnableConfig = {"callbacks": [meter], "max_concurrency": 1}
    documents = await retriever.ainvoke(question.example.question, config)
    names = tuple(str(document.id) for document in documents)
    record = RetrievalRecord(
        id=question.id,
        hops=len(question.hops),
        found=_ranks(question, names),
        subquestions=len(planned.decomposition.subquestions),
        read=reader.read,
        read_right=reader.read_right,
        no_plan=planned.no_plan,
        failure=planned.failure or reader.failure,
        decompose=Used.of(planned.decomposition.usage, _plans_at_once(run.config, arm)),
        solve=Used.of(meter.usage, _at_once(run.config, arm)),
    )
    return record, names


async def _rewritten(run: _Run, arm: RetrievalArm, question: MultiHop) -> tuple[RetrievalRecord, tuple[str, ...]]:
    """Return what a search for the solver's own query, and for the question beside it, comes to."""
    assert run.solver is not None
    meter, text, failure = Meter(), question.example.question, None
    query = ""
    try:
        reply = await run.solver.ainvoke(rewriting_prompt(text), {"callbacks": [meter]})
        query = parse_query(as_message(reply).text)
    except Exception as error:  # whatever a provider's package raises
        failure = why_failed(error)
    searched = [Query(1, query), Query(0, text)] if query else [Query(0, text)]
    hits = fused([Search(one, await run.retriever.ainvoke(one.text)) for one in searched])
    names = tuple(str(hit.document.id) for hit in hits[: run.config.k])
    record = RetrievalRecord(
        id=question.id,
        hops=len(question.hops),
        found=_ranks(question, names),
        failure=failure,
        solve=Used.of(meter.usage, _at_once(run.config, arm)),
    )
    return record, names


def _answer(run: _Run, arm: RetrievalArm, asked: Sequence[MultiHop], retry: bool) -> None:
    """Have the solver answer each question from what another arm found; what that arm used is counted in."""
    assert arm.answered is not None
    records = Records(run.config.results_folder / f"{arm.name}.jsonl", AnswerRecord)
    searched = Records(run.config.results_folder / f"{arm.answered}.jsonl", RetrievalRecord).records
    found = Records(_found_file(run, arm.answered), Found).records
    if retry:
        again = {question.id for question in asked}
        records.drop(lambda record: record.is_failure and record.id in again)
    left = [question for question in asked if question.id not in records.records]
    if missing := [question.id for question in left if question.id not in searched or question.id not in found]:
        raise ValueError(
            f"{arm.name} answers from what {arm.answered} found, and for {len(missing)} questions ({missing[0]}, …) "
            f"that is not in {_found_file(run, arm.answered)}. Run the arm {arm.answered} first; if it has records "
            "already, made elsewhere, delete its file of them."
        )

    async def one(question: MultiHop) -> None:
        texts = [run.texts[name] for name in found[question.id].documents[: run.config.answer_k]]
        records.add(await _answered(run, arm, question, texts, searched[question.id]))

    _ask(run, arm, left, one, len(asked) - len(left))
    records.sort([question.id for question in run.order])
    right = sum(record.strict for record in records.records.values())
    print(f"{arm.name}: {right:.0f} of {len(records.records)} right", flush=True)


async def _answered(
    run: _Run, arm: RetrievalArm, question: MultiHop, texts: Sequence[str], searched: RetrievalRecord
) -> AnswerRecord:
    assert run.solver is not None
    meter, text, answer = Meter(), "", None
    try:
        prompt = reading_prompt(question.example.question, texts)
        reply = as_message(await run.solver.ainvoke(prompt, {"callbacks": [meter]}))
        text, failure = reply.text, why_no_reply(reply)
        answer = parse_reading(text)
    except Exception as error:  # whatever a provider's package raises
        failure = why_failed(error)
    verdict = judge(question.example, text, answer)
    return AnswerRecord(
        id=question.id,
        source=SOURCE,
        strict=0.0 if failure else verdict.strict,
        lenient=0.0 if failure else verdict.lenient,
        answer=None if failure else shortened(verdict.answer, question.example.question),
        why=failure or verdict.why,
        mode="direct",
        subquestions=searched.subquestions,
        no_plan=searched.no_plan,
        decompose=searched.decompose,
        solve=searched.solve + Used.of(meter.usage, _at_once(run.config, arm)),
    )


def _ask(
    run: _Run,
    arm: RetrievalArm,
    left: Sequence[MultiHop],
    one: Callable[[MultiHop], Coroutine[Any, Any, None]],
    done: int,
) -> None:
    if left and arm.needs_solver:
        print(preview_readings(left, arm, run.config, run.texts).render(f"{arm.name}, solver"), flush=True)
    ask_all(left, one, concurrency=_at_once(run.config, arm), done=done, title=arm.name)


def _at_once(config: RetrievalConfig, arm: RetrievalArm) -> int:
    return config.solver.concurrency if arm.needs_solver and config.solver else 1


def _plans_at_once(config: RetrievalConfig, arm: RetrievalArm) -> int:
    return config.decomposers[arm.decomposer].concurrency if arm.decomposer in config.decomposers else 1


def _ranks(question: MultiHop, names: Sequence[str]) -> tuple[int | None, ...]:
    return tuple(names.index(hop.passage) + 1 if hop.passage in names else None for hop in question.hops)


def _found_file(run: _Run, arm: str) -> Path:
    return run.config.folder / "found" / f"{arm}.jsonl"


def _summary(arm: str, records: Sequence[RetrievalRecord], budgets: Sequence[int]) -> str:
    """Return an arm's figures in words, to watch a run by."""
    shares = [
        f"{budget}: {sum(one.recall(budget) for one in records) / len(records):.3f} recall, "
        f"{sum(one.is_complete(budget) for one in records) / len(records):.3f} all found"
        for budget in budgets
    ]
    return f"{arm}, n = {len(records)}; documents to " + "; ".join(shares)
