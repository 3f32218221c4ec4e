"""Published multi-hop sets with their distractors, and the rivals of a plan, over a tiny set of ours."""

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.exceptions import ModelTimeoutError
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from tests.training_tests.hops import BRIDGE, DECOYS, KEEPER, LAMP, MAYOR, PAINTER, retrieval
from tests.unit_tests.fakes import AgentModel, calls, raising, scripted
from training.config import ROOT, load_toml
from training.measure.config import Measurement
from training.measure.corpus import MultiHop
from training.measure.published import load_published
from training.measure.records import RetrievalRecord
from training.measure.rivals import MOST_SEARCHES, first_prompt, parse_queries
from training.measure.run import measure
from training.store import Records

TITLES = {BRIDGE: "Long Bridge", MAYOR: "Lund", PAINTER: "Ada Holm", LAMP: "Green Lamp", KEEPER: "Varde"}
QUESTION = "Who was the first mayor of the town that the Long Bridge is in?"


def title(text: str) -> str:
    return TITLES.get(text, " ".join(text.split()[:3]))


def musique(*gold: str, question: str = QUESTION, name: str = "2hop__1") -> dict[str, Any]:
    texts = [*gold, *DECOYS]
    return {
        "id": name,
        "question": question,
        "answer": "Ada Holm",
        "answer_aliases": ["A. Holm"],
        "paragraphs": [{"idx": at, "title": title(text), "paragraph_text": text} for at, text in enumerate(texts)],
        "question_decomposition": [
            {"question": "Which town is the Long Bridge in?", "answer": "Lund", "paragraph_support_idx": 0},
            {"question": "Who was the first mayor of #1 ?", "answer": "Ada Holm", "paragraph_support_idx": 1},
        ],
    }


def wiki2(**changes: Any) -> dict[str, Any]:
    return {
        "_id": "w1",
        "type": "compositional",
        "question": "Who was the father of the director of Sea Wall?",
        "answer": "Ib Holm",
        "supporting_facts": [["Sea Wall", 0], ["Ada Holm", 0]],
        "evidences": [["Sea Wall", "director", "Ada Holm"], ["Ada Holm", "father", "Ib Holm"]],
        "context": [["Sea Wall", ["A film.", "Made by Ada Holm."]], ["Ada Holm", [PAINTER]], ["Other", [LAMP]]],
        **changes,
    }


def hotpot() -> dict[str, Any]:
    row = wiki2(question="Which film did a painter's daughter make?")
    del row["evidences"]
    return row


def write(path: Path, *rows: dict[str, Any], lines: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) if lines else json.dumps(rows))
    return path


def texts(published: tuple[list[Document], list[MultiHop]], ids: tuple[str, ...]) -> list[str]:
    known = {str(document.id): document.page_content for document in published[0]}
    return [known[one].partition("\n")[2] for one in ids]


@pytest.mark.parametrize("lines", [False, True])
def test_musique_is_read_with_hops_gold_passages_and_distractors(tmp_path: Path, lines: bool) -> None:
    found = load_published(write(tmp_path / "musique.json", musique(BRIDGE, MAYOR), lines=lines))
    assert len(found[0]) == 2 + len(DECOYS)
    assert found[0][0].page_content == f"Long Bridge\n{BRIDGE}"
    assert found[0][0].metadata == {"title": "Long Bridge"}
    [one] = found[1]
    assert (one.id, one.example.answers) == ("musique/2hop__1", ("Ada Holm", "A. Holm"))
    assert one.plan == ("Which town is the Long Bridge in?", "Who was the first mayor of #1?")
    assert [(hop.filled, hop.answer) for hop in one.hops][1] == ("Who was the first mayor of Lund?", "Ada Holm")
    assert texts(found, one.gold) == [BRIDGE, MAYOR]


def test_2wiki_is_read_with_a_plan_made_of_its_facts(tmp_path: Path) -> None:
    unnamed = wiki2(_id="w2", question="Whose father was it?")
    found = load_published(write(tmp_path / "2wikimultihopqa.json", wiki2(), unnamed))
    one, other = found[1]
    assert one.id == "wiki2/w1"
    assert one.plan == ("Who directed Sea Wall?", "Who is the father of #1?")
    assert [hop.answer for hop in one.hops] == ["Ada Holm", "Ib Holm"]
    assert texts(found, one.gold) == ["A film. Made by Ada Holm.", PAINTER]
    assert (other.plan, len(other.gold)) == ((), 2), "its question does not name what the facts are about"


def test_hotpotqa_is_read_without_hops(tmp_path: Path) -> None:
    found = load_published(write(tmp_path / "hotpotqa.json", hotpot()))
    [one] = found[1]
    assert (one.id, one.hops, len(one.gold)) == ("hotpotqa/w1", (), 2)


def test_a_corpus_beside_the_questions_is_what_is_searched(tmp_path: Path) -> None:
    path = write(tmp_path / "musique.json", musique(BRIDGE, MAYOR))
    rows = [{"title": title(text), "text": f" {text}\n", "idx": 7} for text in (BRIDGE, MAYOR, KEEPER)]
    write(tmp_path / "musique_corpus.json", *rows)
    found = load_published(path)
    assert len(found[0]) == 3
    assert texts(found, found[1][0].gold) == [BRIDGE, MAYOR]
    write(tmp_path / "musique_corpus.json", *rows[:1])
    with pytest.raises(ValueError, match="holds no question whose gold passages are among the passages"):
        load_published(path)


def test_questions_on_which_something_was_chosen_are_left_out(tmp_path: Path) -> None:
    other = musique(LAMP, KEEPER, question="Who kept the lamp?", name="2hop__2")
    path = write(tmp_path / "musique.json", musique(BRIDGE, MAYOR), other)
    chosen_by = write(tmp_path / "dev.json", {"question": QUESTION.upper()})
    found = load_published(path, chosen_by)
    assert [one.id for one in found[1]] == ["musique/2hop__2"]
    assert BRIDGE in " ".join(document.page_content for document in found[0]), "its passages distract"


def test_rows_of_another_form_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in no form that is known: expected question_decomposition"):
        load_published(write(tmp_path / "rows.json", {"question": "Who?"}))
    with pytest.raises(ValueError, match=r"There is no file .*nowhere\.json"):
        load_published(tmp_path / "nowhere.json")


# Measured


def multihop(folder: Path, *arms: str, **changes: Any) -> Measurement:
    """Return a measurement over a published set of ours."""
    rows = [musique(BRIDGE, MAYOR), musique(BRIDGE, MAYOR, question="And which town's mayor was she?", name="2hop__2")]
    write(folder / "data" / "own" / "musique.json", *rows)
    return retrieval(folder, *arms, search={"published": "own/musique.json", **changes.pop("search", {})}, **changes)


def ask(config: Measurement, solver: Any) -> dict[str, RetrievalRecord]:
    measure(config, models={"solver": solver, "d": scripted("No decomposition needed.")})
    arm = config.arms[0].name
    return Records(config.results_folder / f"{arm}.jsonl", RetrievalRecord).records


def test_a_published_set_is_measured_by_ranks_of_its_gold_passages(tmp_path: Path) -> None:
    config = multihop(tmp_path, "reference-oracle", "reference-unfilled", "reference-phrased", "whole")
    found = ask(config, None)["musique/2hop__1"]
    assert (found.hops, found.is_complete(3), found.read_right) == (2, True, 1)
    settings = json.loads((config.results_folder / "settings.json").read_text())
    assert settings["corpus"]["documents"] == 6
    assert settings["published"] == "musique"


def test_titles_stand_for_answers_unless_the_arm_says_otherwise(tmp_path: Path) -> None:
    by_title = ask(multihop(tmp_path / "a", "reference-unfilled"), None)["musique/2hop__1"]
    by_words = ask(multihop(tmp_path / "b", "reference-phrased"), None)["musique/2hop__1"]
    assert by_title.found[0] == by_words.found[0] == 1
    assert by_title.read == by_words.read == 0


@pytest.mark.parametrize(
    ("arm", "reply", "calls_made"),
    [
        ("rewrite", "mayor Lund Ada Holm", 1),
        ("multiquery", "1. Who was mayor of Lund?\n2. Mayor of Lund\n- first mayor Lund\nmore", 1),
        ("ircot", "Ada Holm was the first mayor of Lund.", 2),
    ],
)
def test_a_rival_searches_with_what_the_solver_writes(tmp_path: Path, arm: str, reply: str, calls_made: int) -> None:
    found = ask(multihop(tmp_path, arm), scripted(reply))["musique/2hop__2"]
    assert found.found[1] is not None, "the mayor's passage is not what the question says"
    assert (found.solve.calls, found.failure, found.subquestions) == (calls_made, None, 0)


def test_reasoning_ends_with_the_answer_or_with_the_last_search(tmp_path: Path) -> None:
    thoughts = iter(range(100))
    endless = ask(multihop(tmp_path / "a", "ircot"), scripted(lambda _: f"The step {next(thoughts)}."))
    assert {one.solve.calls for one in endless.values()} == {MOST_SEARCHES - 1}
    done = ask(multihop(tmp_path / "b", "ircot"), scripted("So the answer is: Ada Holm, first mayor of Lund."))
    assert {one.solve.calls for one in done.values()} == {1}
    assert done["musique/2hop__2"].found[1] is not None, "the answer is searched for"


def test_an_agent_searches_a_few_times_and_is_then_told_to_answer(tmp_path: Path) -> None:
    told: list[str] = []

    def reply(messages: list[BaseMessage]) -> AIMessage:
        results = [str(message.content) for message in messages if isinstance(message, ToolMessage)]
        told.extend(results[-1:])
        return calls("search", query=f"first mayor of Lund {len(results)}") if len(results) < 5 else AIMessage("Ada.")

    found = ask(multihop(tmp_path, "agent"), AgentModel(reply=reply))
    assert {one.failure for one in found.values()} == {None}
    assert all(one.found[1] is not None for one in found.values())
    assert sum("No more searches are left" in text for text in told) == len(found)


@pytest.mark.parametrize("arm", ["rewrite", "multiquery", "ircot", "agent"])
def test_a_rival_whose_solver_fails_finds_what_the_question_does(tmp_path: Path, arm: str) -> None:
    whole = ask(multihop(tmp_path / "whole", "whole"), None)
    found = ask(multihop(tmp_path / arm, arm), AgentModel(reply=raising(ModelTimeoutError("late"))))
    assert {one.failure for one in found.values()} == {"timeout"}
    assert [one.found for one in found.values()] == [one.found for one in whole.values()]


@pytest.mark.parametrize("mode", ["rewrite", "multiquery", "ircot", "agent"])
def test_a_rivals_first_prompt_holds_the_question(mode: str) -> None:
    [message] = first_prompt(mode, "Who {was} it?")
    assert "Who {was} it?" in message.text


def test_queries_are_lines_without_numbers_and_quotes_each_once() -> None:
    assert parse_queries('1. "Who?"\n\n- Who?\n* When?\nQuery: Where?', 2) == ["Who?", "When?"]
    assert parse_queries("\n", 3) == []


def test_two_candidates_of_the_solver_are_both_searched_for_and_one_has_to_be_right(tmp_path: Path) -> None:
    model = scripted("Answer: Aby | Lund")
    found = ask(multihop(tmp_path, "reference-candidates"), model)["musique/2hop__1"]
    assert (found.read, found.read_right, found.is_complete(3)) == (1, 1, True)
    assert "with a | between them" in model.seen[0][-1].text
    one = ask(multihop(tmp_path / "one", "reference-sequential"), scripted("Answer: Aby"))["musique/2hop__1"]
    assert one.read_right == 0


def test_fused_by_reciprocal_ranks_is_an_arm_of_its_own(tmp_path: Path) -> None:
    config = multihop(tmp_path, "reference-oracle.rrf", "d-sequential.rrf")
    assert [arm.mode for arm in config.arms] == ["oracle.rrf", "sequential.rrf"]
    assert [arm.solver for arm in config.arms] == [None, "solver"]
    by_ranks = ask(config, scripted("unknown"))["musique/2hop__1"]
    in_turns = ask(multihop(tmp_path / "turns", "reference-oracle"), None)["musique/2hop__1"]
    assert by_ranks.read == in_turns.read == 1
    assert by_ranks.found != in_turns.found


@pytest.mark.parametrize("name", ["musique", "wiki2", "hotpotqa"])
def test_the_committed_configs_ask_every_rival_for_the_same_budgets(name: str) -> None:
    config = load_toml(ROOT / f"training/configs/measure/multihop-{name}.toml", Measurement)
    assert config.search is not None
    assert (config.search.budgets, config.search.k) == ((2, 5, 9), 9)
    modes = {arm.mode for arm in config.arms}
    assert {"whole", "rewrite", "multiquery", "ircot", "agent", "unfilled", "phrased", "sequential"} <= modes
    assert (config.search.left_out is not None) == (name == "musique")
    both = load_toml(ROOT / f"training/configs/measure/multihop-{name}-both.toml", Measurement)
    assert both.search == config.search.model_copy(update={"retriever": "both"})
    assert {arm.name for arm in both.arms} < {arm.name for arm in config.arms}
    assert both.decomposers.items() <= config.decomposers.items()
