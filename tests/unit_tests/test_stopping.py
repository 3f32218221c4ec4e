from hypothesis import given
from hypothesis import strategies as st

from langchain_divconq.llamacpp.engines.base import Token, TokenLogprob
from langchain_divconq.llamacpp.engines.stopping import StopFilter

ALPHABET = "ab\n"


def cut(text: str, stop: list[str]) -> str:
    """Return the text before the stop string that is completed first; of two completed at once, the longer one."""
    for end in range(1, len(text) + 1):
        if lengths := [len(string) for string in stop if text[:end].endswith(string)]:
            return text[: end - max(lengths)]
    return text


def run(tokens: list[str], stop: list[str]) -> tuple[list[str], list[str], bool]:
    """Return the pieces, the tokens reported with them, and whether a stop string was met."""
    stopping = StopFilter(stop)
    pieces, reported = [], []
    for number, text in enumerate(tokens):
        if piece := stopping.feed(Token(text, TokenLogprob(str(number), -1.0))):
            pieces.append(piece)
        if stopping.stopped:
            break
    if piece := stopping.finish():
        pieces.append(piece)
    reported = [token.logprob.token for piece in pieces for token in piece.tokens if token.logprob]
    return [piece.text for piece in pieces], reported, stopping.stopped


@given(
    st.lists(st.text(ALPHABET, max_size=4), max_size=12),
    st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=3),
)
def test_the_pieces_add_up_to_the_text_before_the_first_stop_string(tokens: list[str], stop: list[str]) -> None:
    text = "".join(tokens)
    pieces, _, stopped = run(tokens, stop)
    assert "".join(pieces) == cut(text, stop)
    assert stopped == (any(string in text for string in stop))


@given(st.text(ALPHABET, max_size=20), st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=3), st.data())
def test_the_division_into_tokens_makes_no_difference(text: str, stop: list[str], data: st.DataObject) -> None:
    places = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    tokens = [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
    assert "".join(run(tokens, stop)[0]) == "".join(run(list(text), stop)[0])


@given(st.lists(st.text(ALPHABET, max_size=4), max_size=12))
def test_without_stop_strings_every_token_is_reported_once_and_text_at_once(tokens: list[str]) -> None:
    pieces, reported, _ = run(tokens, [])
    assert reported == [str(number) for number in range(len(tokens))]
    assert [piece for piece in pieces if piece] == [token for token in tokens if token]


def test_tokens_of_the_stop_string_are_not_reported() -> None:
    assert run(["one", " ", "<", "end", ">", "two"], ["<end>"]) == (["one", " "], ["0", "1"], True)


def test_a_token_that_is_cut_is_reported_with_what_is_left_of_it() -> None:
    assert run(["one<", "end>"], ["<end>"]) == (["one"], ["0"], True)


def test_text_is_held_back_only_while_it_may_become_a_stop_string() -> None:
    stopping = StopFilter(["\n\n"])
    assert stopping.feed(Token("a\n")).text == "a"  # type: ignore[union-attr]
    assert stopping.feed(Token("b")).text == "\nb"  # type: ignore[union-attr]
    assert stopping.finish() is None
