"""The command line, over models that answer by a function."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from langchain_core.messages import BaseMessage

import langchain_divconq.cli as cli
from langchain_divconq._version import __version__
from langchain_divconq.cli import commands, main
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.llamacpp.engines.base import EngineName
from langchain_divconq.types import Decomposition, Mode, Solution
from tests.unit_tests.command_line import MODELS, REPLY, Command, Models, solver_of, write_questions
from tests.unit_tests.fakes import PLAN, QUESTION, failing, scripted


def test_ask_shows_plan_mode_reply_and_usage(ask: Command) -> None:
    code, out, err = ask(QUESTION)
    assert (code, err) == (0, "")
    plan, mode, reply, usage = out.rstrip("\n").split("\n\n")
    assert (plan, mode, reply) == (PLAN, "Mode: fused", REPLY)
    assert re.fullmatch(r"decomposer: \d+ tokens in, \d+ out, \d\.\d s; solver: \d+ tokens in, 6 out, \d\.\d s", usage)


def test_the_plan_is_shown_before_the_solver_is_asked(models: Models, capsys: pytest.CaptureFixture[str]) -> None:
    shown_before: list[str] = []

    def reply(_: list[BaseMessage]) -> str:
        shown_before.append(capsys.readouterr().out)
        return REPLY

    models["fake:solver"] = scripted(reply)
    assert main(["ask", *MODELS, QUESTION]) == 0
    assert shown_before == [f"{PLAN}\n\nMode: fused\n\n"]


def test_a_question_that_stays_whole_says_why(ask: Command) -> None:
    assert ask("--gate", "never", QUESTION).out.startswith("Mode: step_by_step, since the gate is 'never'\n\n")


def test_an_answer_that_the_reply_does_not_end_with_is_added(models: Models, ask: Command) -> None:
    models["fake:solver"] = scripted(r"So it is \boxed{29}.")
    assert "\\boxed{29}.\n\nAnswer: 29\n" in ask(QUESTION).out


def test_a_reply_without_an_answer_is_shown_and_said_to_have_none(models: Models, ask: Command) -> None:
    models["fake:solver"] = scripted("I do not know.\nI really do not.")
    code, out, err = ask(QUESTION)
    assert (code, "I really do not.\n" in out, "no final answer" in err) == (0, True, True)


@pytest.mark.parametrize("mode", get_args(Mode))
def test_every_mode_of_the_solver_can_be_chosen(mode: str, ask: Command) -> None:
    solution = Solution.model_validate_json(ask("--mode", mode, "--json", QUESTION).out)
    assert (solution.mode, solution.answer, solution.subquestions[0]) == (mode, "29", PLAN.splitlines()[0][3:])


def test_the_choices_offered_are_those_there_are() -> None:
    assert get_args(Mode) == cli.MODES
    assert get_args(EngineName) == cli.ENGINES


@pytest.mark.parametrize("field", ["max_subquestions", "gate", "num_beams"])
def test_dividing_is_by_default_as_in_the_library(field: str) -> None:
    for command in ("ask", "decompose"):
        assert getattr(cli._parser().parse_args([command, "x"]), field) == Decomposer.model_fields[field].default


def test_a_price_turns_into_dollars(ask: Command) -> None:
    usage = Solution.model_validate_json(ask("--price", "1000000,0", "--json", QUESTION).out).usage
    assert usage.solve.dollars == usage.solve.input_tokens
    assert "$0.0" in ask("--price", "1,1", QUESTION).out


def test_calls_without_token_counts_are_said_to_have_none(models: Models, ask: Command) -> None:
    models["fake:solver"] = scripted(REPLY, metered=False)
    assert "solver: 1 of 1 calls without token counts" in ask(QUESTION).out


def test_decompose_shows_the_plan_alone_or_why_there_is_none(models: Models, divconq: Command) -> None:
    decompose = ["decompose", "--decomposer", "fake:decomposer", QUESTION]
    assert divconq(*decompose) == (0, f"{PLAN}\n", "")
    assert divconq(*decompose, "--gate", "never") == (0, "No decomposition needed.\n", "(the gate is 'never')\n")


def test_a_decomposition_comes_as_json(models: Models, divconq: Command) -> None:
    ran = divconq("decompose", "--decomposer", "fake:decomposer", "--json", "--context", "Pens are blue.", QUESTION)
    decomposition = Decomposition.model_validate_json(ran.out)
    assert (len(decomposition.subquestions), decomposition.question.context) == (2, "Pens are blue.")


def test_a_question_may_come_on_stdin(ask: Command, type_in: Callable[[str], None]) -> None:
    type_in("Mia has boxes.\nHow many?\n")
    solution = Solution.model_validate_json(ask("--json").out)
    assert solution.decomposition.question.text == "Mia has boxes.\nHow many?"


def test_a_context_may_come_from_a_file(ask: Command, tmp_path: Path) -> None:
    passage = tmp_path / "passage.txt"
    passage.write_text("Füller sind blau.", encoding="utf-8")
    solution = Solution.model_validate_json(ask("--context", f"@{passage}", "--json", QUESTION).out)
    assert solution.decomposition.question.context == "Füller sind blau."


def test_without_a_solver_it_says_that_this_shows_the_plumbing(
    models: Models, divconq: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "ChatGGUF", lambda **_: models["fake:solver"])
    assert "plumbing, not the quality" in divconq("ask", "--decomposer", "fake:decomposer", QUESTION).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask", *MODELS, "--input", "x.jsonl", QUESTION], "pass one of the two"),
        (["ask", *MODELS, "--output", "x.jsonl", QUESTION], "--output goes with --input"),
        (["ask", *MODELS, " "], "The question is empty"),
        (["ask", *MODELS, "--context", "@missing.txt", QUESTION], "--context @missing.txt: the file cannot be read"),
        (["ask", *MODELS, "--input", "missing.jsonl"], "--input missing.jsonl: the file cannot be read"),
        (["ask", *MODELS, "--input", "/dev/zero"], "--input /dev/zero: the file cannot be read: /dev/zero is a device"),
        (["ask", *MODELS, "--context", "@/dev/zero", QUESTION], "the file cannot be read: /dev/zero is a device"),
        (["ask", *MODELS, "--max-subquestions", "0", QUESTION], "max_subquestions is 0; it must be from 1 to 9"),
        (["ask", *MODELS, "--num-beams", "17", QUESTION], "num_beams is 17; it must be a whole number from 1 to 16"),
        (["ask", *MODELS, "--gate", "1.5", QUESTION], "gate is 1.5; it must be"),
        (["ask", *MODELS, "--price=-1,2", QUESTION], "input: Input should be greater than or equal to 0"),
        (["ask", "--solver", "gguf:", QUESTION], "--solver gguf: names no file"),
        (["decompose", "--n-ctx", "-1", QUESTION], "n_ctx is -1"),
    ],
)
def test_wrong_use_is_one_message_and_exit_code_2(
    arguments: list[str],
    message: str,
    models: Models,
    divconq: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = divconq(*arguments)
    assert (code, out, err.partition(" ")[0]) == (2, "", "divconq:")
    assert message in err
    assert "validation error" not in err
    assert solver_of(models).seen == []


@pytest.mark.parametrize(
    "arguments",
    [["ask", "--concurrency", "0", "x"], ["ask", "--price", "1", "x"], ["ask", "--gate", "often", "x"], ["sing"], []],
)
def test_an_argument_that_cannot_be_read_ends_with_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: divconq" in capsys.readouterr().err


def test_json_lines_where_a_question_was_expected_are_noticed(ask: Command, type_in: Callable[[str], None]) -> None:
    type_in('{"question": "How many?"}\n{"question": "How few?"}\n')
    code, _, err = ask()
    assert (code, "Add --input -" in err) == (2, True)


def test_a_terminal_is_not_waited_for(ask: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    code, _, err = ask()
    assert (code, 'Pass one in quotes: divconq ask "How many ...?"' in err) == (2, True)


def test_a_provider_that_is_unknown_or_not_installed_is_wrong_use(
    divconq: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = divconq("ask", "--solver", "nobody:nothing", QUESTION)
    assert (code, "--solver 'nobody:nothing' cannot be set up: ValueError" in err) == (2, True)
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    code, _, err = divconq("ask", "--solver", "openai:gpt-5-mini", QUESTION)
    assert (code, 'pip install "langchain-divconq[agents]"' in err) == (2, True)


def test_a_failing_solver_is_one_message_and_exit_code_1_or_with_debug_an_error(models: Models, ask: Command) -> None:
    models["fake:solver"] = failing(RuntimeError("the provider is down"))
    assert ask(QUESTION)[::2] == (1, "divconq: RuntimeError: the provider is down\n")
    with pytest.raises(RuntimeError, match="the provider is down"):
        ask("--debug", QUESTION)


def test_an_interrupt_is_exit_code_130(models: Models, ask: Command) -> None:
    models["fake:solver"] = failing(KeyboardInterrupt())
    assert ask("--json", QUESTION)[::2] == (130, "divconq: interrupted\n")


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"divconq {__version__}\n"


def test_help_loads_nothing_that_it_does_not_need() -> None:
    code = "import sys; from langchain_divconq.cli import main\ntry: main(['ask', '--help'])\nexcept SystemExit: pass\n"
    code += "print([name for name in sys.modules if name in ('langchain', 'tqdm', 'langchain_divconq.cli.commands')])"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("usage: divconq ask")
    assert run.stdout.endswith("\n[]\n")


def test_a_reader_that_goes_away_early_causes_no_noise(tmp_path: Path) -> None:
    questions = write_questions(tmp_path, {"question": "How many?"})
    code = (
        "import sys; import langchain.chat_models; from tests.unit_tests.fakes import scripted, PLAN\n"
        "langchain.chat_models.init_chat_model = lambda *a, **k: scripted(PLAN)\n"
        "from langchain_divconq.cli import main\n"
        f"sys.exit(main(['decompose', '--decomposer', 'fake:x', '--input', {str(questions)!r}]))"
    )
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert "BrokenPipe" not in run.stderr
