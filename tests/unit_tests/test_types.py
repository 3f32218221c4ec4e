import contextlib
import json
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from pydantic import BaseModel, ValidationError

from langchain_divconq.errors import DivConqError, InvalidQuestionError
from langchain_divconq.types import (
    METADATA_KEY,
    Decomposition,
    Question,
    Solution,
    Subanswer,
    fill_references,
    references,
)
from langchain_divconq.usage import StageUsage, Usage

TEXT = "How many pens are left?"
SYSTEM, HELLO, BONJOUR = SystemMessage("Answer in French."), HumanMessage("Hello"), AIMessage("Bonjour")
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


@pytest.mark.parametrize(
    "value",
    [
        *(TEXT, Question(text=TEXT), {"question": TEXT}, {"question": TEXT, "context": None}, HumanMessage(TEXT)),
        *(HumanMessageChunk(content=TEXT), [HumanMessage(TEXT)], (HumanMessage(TEXT),), [TEXT], [("human", TEXT)]),
        *([("user", TEXT)], [{"role": "user", "content": TEXT}], [{"type": "human", "content": TEXT}]),
        [{"role": "user", "content": [{"type": "text", "text": TEXT}]}],
        HumanMessage([{"type": "text", "text": TEXT[:8]}, {"type": "text", "text": TEXT[8:]}]),
        *(HumanMessage([TEXT]), StringPromptValue(text=TEXT)),
        ChatPromptValue(messages=[HumanMessage(TEXT)]),
        PromptTemplate.from_template("{q}").invoke({"q": TEXT}),
        ChatPromptTemplate.from_template("{q}").invoke({"q": TEXT}),
    ],
    ids=lambda value: f"{type(value).__name__}: {value}"[:60],
)
def test_a_question_may_come_as_anything_a_chat_model_takes_or_as_a_mapping(value: Any) -> None:
    assert Question.from_input(value) == Question(text=TEXT)


def test_a_question_that_is_one_already_stays_the_same() -> None:
    question = Question(text=TEXT, history=(SYSTEM,))
    assert Question.from_input(question) is question


def test_other_keys_of_a_mapping_are_ignored_as_prompts_do() -> None:
    value: Any = {"question": TEXT, "context": "Mia has 36.", "chat_history": [HELLO], "id": 7, 1: 2}
    assert Question.from_input(value) == Question(text=TEXT, context="Mia has 36.")


@pytest.mark.parametrize(
    ("found", "context"),
    [
        *(("Mia has 36.", "Mia has 36."), ("", None), (" \n", None)),
        ([Document("Mia has 36."), Document("Leo has 7.")], "Mia has 36.\n\nLeo has 7."),
        *((Document("Mia has 36."), "Mia has 36."), ([], None)),
    ],
)
def test_text_and_documents_are_a_context_and_blanks_are_none(found: Any, context: str | None) -> None:
    assert Question.from_input({"question": TEXT, "context": found}) == Question(text=TEXT, context=context)


@pytest.mark.parametrize(
    "value",
    [
        [SYSTEM, HELLO, BONJOUR, HumanMessage(TEXT)],
        [("system", SYSTEM.text), ("human", "Hello"), ("ai", "Bonjour"), ("human", TEXT)],
        [
            {"role": "system", "content": SYSTEM.text},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Bonjour"},
            {"role": "user", "content": TEXT},
        ],
        ChatPromptValue(messages=[SYSTEM, HELLO, BONJOUR, HumanMessage(TEXT)]),
    ],
    ids=["objects", "tuples", "dicts", "prompt value"],
)
def test_messages_before_the_question_are_its_history_and_not_in_its_json(value: Any) -> None:
    question = Question.from_input(value)
    assert (question.text, question.history) == (TEXT, (SYSTEM, HELLO, BONJOUR))
    assert question.model_dump(mode="json") == {"text": TEXT, "context": None}
    assert "Bonjour" not in repr(question)


def test_an_image_earlier_in_the_chat_is_left_to_the_solver() -> None:
    question = Question.from_input([HumanMessage([IMAGE]), BONJOUR, HumanMessage(TEXT)])
    assert question.history == (HumanMessage([IMAGE]), BONJOUR)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", r"The question is empty \(''\)\. Pass the question in words"),
        *((" \n\t", "The question is empty"), ("\u00a0\u2003", "The question is empty")),
        *(({"question": " "}, "The question is empty"), (HumanMessage(""), "The question is empty")),
        *((HumanMessage([]), "The question is empty"), ([("human", "  ")], "The question is empty")),
        ([{"role": "user", "content": None}], "The question is empty"),
        ("caf\udce9?", r"'caf\\udce9\?' cannot be written as UTF-8: surrogates not allowed"),
        ({"question": TEXT, "context": "caf\udce9"}, "cannot be written as UTF-8"),
        (None, "Expected a question as text, a mapping, messages or a prompt value, got NoneType"),
        *((b"Why?", "Expected a question as text.*got bytes"), (42, "Expected a question as text.*got int")),
        *((4.2, "Expected a question as text.*got float"), ({TEXT}, "Expected a question as text.*got set")),
        (..., "Expected a question as text.*got ellipsis"),
        ({}, r"Expected a mapping with 'question' and perhaps 'context', got the keys \[\]"),
        ({"text": TEXT}, r"Expected a mapping with 'question'.*\['text'\]"),
        ({"role": "user", "content": TEXT}, r"Expected a mapping.*\['content', 'role'\]"),
        ({"question": None}, "The question must be text, got None"),
        ({"question": 42}, "The question must be text, got 42"),
        ({"question": b"Why?"}, "The question must be text, got b'Why"),
        ({"question": [TEXT]}, "The question must be text"),
        ({"question": TEXT, "context": 42}, "The context must be text, got 42"),
        ({"question": TEXT, "context": b"Mia"}, "The context must be text, got b'Mia'"),
        ({"question": TEXT, "context": ["Mia"]}, r"The context must be text, got \['Mia'\]"),
        ({"question": TEXT, "context": [Document("Mia"), 7]}, "The context must be text"),
        ([], "There is no message; the last one must hold the user's question"),
        ((), "There is no message"),
        (ChatPromptValue(messages=[]), "There is no message"),
        ([HELLO, BONJOUR], "The last message must be the user's question, got a message of type 'ai'"),
        *(([SYSTEM], "got a message of type 'system'"), (AIMessage(TEXT), "got a message of type 'ai'")),
        (AIMessageChunk(content=TEXT), "got a message of type 'AIMessageChunk'"),
        ([HELLO, ToolMessage("1", tool_call_id="1")], "got a message of type 'tool'"),
        (ChatMessage(role="user", content=TEXT), "got a message of type 'chat'"),
        (HumanMessage([IMAGE]), r"Only text can be divided; the question holds image_url\. Describe it in words"),
        (HumanMessage([{"type": "text", "text": TEXT}, IMAGE]), "the question holds image_url"),
        (HumanMessage([IMAGE, {"type": "audio"}]), "the question holds audio, image_url"),
        (HumanMessage([{"url": "x"}]), r"the question holds \?"),
        (HumanMessage([{"type": ["text"]}]), r"the question holds \['text'\]"),
        ([42], "The messages cannot be read"),
        ([("human", TEXT, "more")], "The messages cannot be read"),
        ([("narrator", TEXT)], "The messages cannot be read.*narrator"),
        ([{"content": TEXT}], "The messages cannot be read"),
        ([{"role": "user"}], "The messages cannot be read"),
        ([{"role": [], "content": TEXT}], "The messages cannot be read"),
        ([{"role": "ai", "content": "", "tool_calls": [{"function": {}}]}], "The messages cannot be read"),
        ([{"role": "ai", "content": "", "tool_calls": [{"function": []}]}], "The messages cannot be read"),
    ],
    ids=repr,
)
def test_what_is_no_question_is_refused_in_words(value: Any, message: str) -> None:
    with pytest.raises(InvalidQuestionError, match=message):
        Question.from_input(value)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8)
KEYS = st.sampled_from(["question", "context", "role", "type", "content", "text", "tool_calls", "id", "name"])
WORDS = st.sampled_from(["user", "human", "ai", "assistant", "system", "tool", "remove", "text", "image_url", "Why?"])
JSON = st.recursive(
    SCALARS | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=4)
        | st.fixed_dictionaries({"role": WORDS, "content": inner})
    ),
    max_leaves=12,
)


@given(JSON)
def test_only_our_error_escapes_whatever_comes_in(value: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # langchain-core's, on odd messages
        with contextlib.suppress(InvalidQuestionError):
            assert Question.from_input(value).text.strip()


@pytest.mark.parametrize(
    ("subquestion", "numbers"),
    [
        ("How old is #1?", (1,)),
        ("Is #2 older than #1, or is #2 younger?", (1, 2)),
        *(("What is #12?", (12,)), ("#1#2", (1, 2)), ("What is # 1?", ()), ("What is #\uff11 or #\u0661?", ())),
        *(("#1\uff12", (1,)), ("C# and #hash", ()), ("Which colour is #123456?", ()), ("#" + "9" * 5000, ()), ("", ())),
    ],
    ids=lambda value: str(value)[:30],
)
def test_references_are_numbers_after_a_hash(subquestion: str, numbers: tuple[int, ...]) -> None:
    assert references(subquestion) == numbers


def test_references_are_filled_in_once_and_unknown_ones_stay() -> None:
    assert fill_references("Is #1 older than #2?", {1: "Ann", 2: "Bo"}) == "Is Ann older than Bo?"
    assert fill_references("#12 and #1 and #3", {1: "Ann"}) == "#12 and Ann and #3"
    assert fill_references("#1 or #2", {1: "#2", 2: r"\1 \g<0>"}) == r"#2 or \1 \g<0>"
    assert fill_references("#\uff11", {1: "Ann"}) == "#\uff11"
    assert fill_references("#" + "1" * 5000, {1: "Ann"}) == "#" + "1" * 5000


@given(st.text(alphabet="#0123456789 a\uff11", max_size=30), st.dictionaries(st.integers(0, 99), st.just("x")))
def test_filling_leaves_no_reference_that_has_an_answer(text: str, answers: dict[int, str]) -> None:
    assert set(references(fill_references(text, answers))) == set(references(text)) - set(answers)


@pytest.mark.parametrize(
    ("subquestions", "message"),
    [
        (["What is #1?"], "Subquestion 1 refers to #1, which is not an earlier one"),
        (["Who?", "What is #3?", "Why?"], "Subquestion 2 refers to #3"),
        (["Who?", "What is #0?"], "Subquestion 2 refers to #0"),
        (["Who?", "What is #12?"], "Subquestion 2 refers to #12"),
        (["Who?", "What\nis #1?"], "Subquestion 2 must be one line of text"),
        (["  "], "Subquestion 1 must be one line of text"),
        ([""], "Subquestion 1 must be one line of text"),
    ],
)
def test_a_decomposition_refers_back_on_single_lines(subquestions: list[str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Decomposition(question=Question(text=TEXT), subquestions=tuple(subquestions))


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_is_from_0_to_1(probability: float) -> None:
    with pytest.raises(ValidationError, match="no_decomposition_probability"):
        Decomposition(question=Question(text=TEXT), no_decomposition_probability=probability)


SOLUTION = Solution(
    answer="29",
    text="1. 36\n2. 29\nAnswer: 29",
    decomposition=Decomposition(
        question=Question(text=TEXT, context="Mia has 36 pens."),
        subquestions=("How many pens are there?", "What is #1 - 7?"),
        no_decomposition_probability=0.25,
        usage=StageUsage(calls=1, input_tokens=10, output_tokens=5, seconds=0.5),
    ),
    subanswers=(
        Subanswer(subquestion="How many pens are there?", answer="36"),
        Subanswer(subquestion="?", answer=None),
    ),
    mode="fused",
    usage=Usage(solve=StageUsage(calls=1, dollars=0.5)),
)


def test_a_solution_comes_back_from_the_message_that_carries_it_as_plain_json() -> None:
    message = AIMessage(SOLUTION.text, response_metadata={"model_name": "m"})
    carrier = SOLUTION.to_message(message)
    assert Solution.from_message(carrier) == SOLUTION
    read_back = json.loads(json.dumps(carrier.response_metadata))
    assert Solution.from_message(AIMessage("29", response_metadata=read_back)) == SOLUTION
    assert carrier.text == SOLUTION.text
    assert carrier.response_metadata["model_name"] == "m"
    assert METADATA_KEY not in message.response_metadata
    assert SOLUTION.subquestions == ("How many pens are there?", "What is #1 - 7?")


def test_the_history_does_not_travel_with_the_solution() -> None:
    question = Question(text=TEXT, history=(SYSTEM,))
    solution = Solution(answer=None, text="", decomposition=Decomposition(question=question), mode="direct")
    assert "French" not in json.dumps(solution.to_message(AIMessage("")).response_metadata)


@pytest.mark.parametrize("message", [AIMessage("29"), HumanMessage("29"), AIMessageChunk(content="29")])
def test_a_message_without_a_solution_says_where_to_find_one(message: BaseMessage) -> None:
    with pytest.raises(DivConqError, match=f"This {type(message).__name__} carries no Solution.*DivideAndConquer"):
        Solution.from_message(message)


def test_a_solution_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(DivConqError, match="The Solution in this AIMessage cannot be read"):
        Solution.from_message(AIMessage("29", response_metadata={METADATA_KEY: {"answer": 29}}))


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (Question(text=TEXT), "text"),
        (SOLUTION.decomposition, "subquestions"),
        (Subanswer(subquestion="?", answer=None), "answer"),
        (SOLUTION, "answer"),
    ],
    ids=["question", "decomposition", "subanswer", "solution"],
)
def test_records_do_not_change_and_take_no_unknown_fields(record: BaseModel, field: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(record, field, "x")
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        type(record).model_validate({**record.model_dump(), "unknown": 1})
