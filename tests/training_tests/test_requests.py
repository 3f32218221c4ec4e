import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_core.exceptions import ModelAuthenticationError, ModelInvalidRequestError, ModelRateLimitError

from tests.training_tests.test_example import examples
from training.example import Example, Outcome
from training.teach.requests import Journal, UnfinishedError, run_durably

SETTINGS = {"teacher": "scripted", "max_subquestions": 3}


def plan(given: Example) -> Outcome:
    return given.model_copy(update={"subquestions": (f"What about {given.id}?",)})


class Worker:
    """Makes plans, or fails; keeps what it is asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[str] = []
        self.error = error

    def __call__(self, given: Example) -> Outcome:
        self.asked.append(given.id)
        time.sleep(0.001)
        if self.error is not None:
            raise self.error
        return plan(given)


def run(
    path: Path, work: Callable[[Example], Outcome], count: int = 8, concurrency: int = 2, attempts: int = 3
) -> list[Outcome]:
    journal = Journal(path, SETTINGS)
    return run_durably(examples(count), work, journal, concurrency=concurrency, attempts=attempts, first_wait=0.0001)


def test_outcomes_come_in_the_order_of_the_examples(tmp_path: Path) -> None:
    def slow_at_first(given: Example) -> Outcome:
        time.sleep(0.02 if given.id == "own/0" else 0)
        return plan(given)

    assert run(tmp_path / "journal", slow_at_first) == [plan(given) for given in examples(8)]


def test_what_is_finished_is_not_asked_again(tmp_path: Path) -> None:
    work = Worker()
    run(tmp_path / "journal", work, count=3)
    outcomes = run(tmp_path / "journal", work, count=5)
    assert sorted(work.asked) == [f"own/{number}" for number in range(5)]
    assert [outcome.id for outcome in outcomes] == [f"own/{number}" for number in range(5)]


def test_a_flaky_teacher_is_asked_again_until_it_answers(tmp_path: Path) -> None:
    attempts: Counter[str] = Counter()

    def flaky(given: Example) -> Outcome:
        attempts[given.id] += 1
        if attempts[given.id] < 3:
            raise ModelRateLimitError("slow down")
        return plan(given)

    assert run(tmp_path / "journal", flaky) == [plan(given) for given in examples(8)]
    assert set(attempts.values()) == {3}


def test_waits_grow_between_attempts(tmp_path: Path) -> None:
    times: list[float] = []

    def failing(_: Example) -> Outcome:
        times.append(time.monotonic())
        raise ConnectionError("no route")

    journal = Journal(tmp_path / "journal", SETTINGS)
    with pytest.raises(UnfinishedError):
        run_durably(examples(1), failing, journal, concurrency=1, attempts=4, first_wait=0.01)
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(waits) == 3
    assert all(wait >= least for wait, least in zip(waits, (0.01, 0.02, 0.04), strict=True))


def test_a_request_that_keeps_failing_is_named_at_the_end_and_the_others_are_kept(tmp_path: Path) -> None:
    broken = True

    def work(given: Example) -> Outcome:
        if broken and given.id == "own/2":
            raise TimeoutError("no reply")
        return plan(given)

    with pytest.raises(
        UnfinishedError, match=r"own/2: TimeoutError: no reply[\s\S]*Run the same stage again"
    ) as caught:
        run(tmp_path / "journal", work)
    assert "1 requests failed" in str(caught.value)
    assert "1 examples are left" in str(caught.value)
    broken = False
    assert run(tmp_path / "journal", work) == [plan(given) for given in examples(8)]


def test_a_request_the_provider_calls_invalid_is_tried_once(tmp_path: Path) -> None:
    work = Worker(ModelInvalidRequestError("bad request"))
    with pytest.raises(UnfinishedError, match="bad request"):
        run(tmp_path / "journal", work, count=2)
    assert len(work.asked) == 2


def test_a_missing_key_stops_the_run_at_once(tmp_path: Path) -> None:
    work = Worker(ModelAuthenticationError("no key"))
    with pytest.raises(ModelAuthenticationError, match="no key"):
        run(tmp_path / "journal", work, count=200, concurrency=2)
    assert len(work.asked) <= 2


def test_when_nothing_succeeds_the_rest_is_not_tried(tmp_path: Path) -> None:
    work = Worker(ConnectionError("no route"))
    with pytest.raises(UnfinishedError, match="and 10 more"):
        run(tmp_path / "journal", work, count=500, concurrency=1, attempts=1)
    assert len(work.asked) < 100


def test_ctrl_c_keeps_what_is_finished_and_what_is_under_way_and_wakes_who_waits(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    began, interrupted, main = threading.Event(), threading.Event(), threading.main_thread().ident
    assert main is not None

    def work(given: Example) -> Outcome:
        if given.id == "own/0":
            raise ConnectionError("waits a long while before the next attempt")
        if given.id == "own/3":
            began.set()
            interrupted.wait()
        time.sleep(0.02)
        return plan(given)

    def interrupt() -> None:
        began.wait()
        signal.pthread_kill(main, signal.SIGINT)
        interrupted.set()

    thread = threading.Thread(target=interrupt)
    thread.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_durably(examples(50), work, Journal(path, SETTINGS), concurrency=2, attempts=9, first_wait=600)
    thread.join()
    assert time.monotonic() - started < 50  # the wait alone would have taken a minute
    kept = Journal(path, SETTINGS).records
    assert {"own/1", "own/2", "own/3"} <= set(kept)
    assert "own/0" not in kept
    assert len(kept) < 49
