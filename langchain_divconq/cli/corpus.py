"""Input of `divconq evaluate`: a folder of passages, and questions with the passages that answer them."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from langchain_divconq.cli.jsonl import Item, read_items
from langchain_divconq.errors import ConfigurationError, InvalidQuestionError
from langchain_divconq.retrieval.evaluation import passage_names, plain_text

_TEXT = (".txt", ".md")
_TEXT_KEYS = ("text", "page_content", "paragraph_text", "contents")


def read_corpus(folder: Path) -> list[Document]:
    """Return the passages of a folder, in the order of its files' names; what cannot be read is a ConfigurationError.

    A .txt or .md file is one passage, known by its name without the ending. A .jsonl file, or a .json file that is a
    list, has a passage in each row: `{"text": …}`, perhaps with "title" and "id".
    """
    if not folder.is_dir():
        raise ConfigurationError(f"--corpus {folder}: there is no such folder.")
    documents = [document for path in sorted(folder.rglob("*")) for document in _passages(path, folder)]
    if not documents:
        raise ConfigurationError(f"--corpus {folder} holds no passage: expected .txt, .md, .jsonl or .json files.")
    return documents


def read_questions(path: Path, documents: Sequence[Document]) -> list[tuple[Item, tuple[str, ...]]]:
    """Return the questions of a file, JSON lines or a JSON list, with the passages that answer each.

    A row is `{"question": …, "passages": [id, title or text, …]}`, perhaps with "id" and "context".

    Raises:
        ConfigurationError: The file cannot be read, or a passage is not in the corpus.
        InvalidQuestionError: A row is no question.
    """
    lines = [json.dumps(row).encode() for row in _rows(path)]
    items = read_items(lines, str(path))
    known = {name for document in documents for name in passage_names(document)}
    return [(item, _gold(json.loads(line), known, item, path)) for item, line in zip(items, lines, strict=True)]


def _gold(row: dict[str, Any], known: set[str], item: Item, path: Path) -> tuple[str, ...]:
    passages = row.get("passages")
    if not (isinstance(passages, list) and passages and all(isinstance(one, str) for one in passages)):
        raise InvalidQuestionError(
            f'{path}: {item.name} needs "passages", a list of the ids, titles or texts of the passages that answer it, '
            f"got {passages!r:.80}."
        )
    for passage in passages:
        if plain_text(passage) not in known:
            raise ConfigurationError(
                f"{path}: the passage {passage!r:.80} of {item.name} is not in the corpus, by id, title or text. Add "
                "it there, or leave the question out."
            )
    return tuple(dict.fromkeys(passages))


def _passages(path: Path, folder: Path) -> Iterator[Document]:
    if path.suffix in _TEXT and path.is_file():
        text = _read(path)
        if text.strip():
            yield Document(text, id=path.relative_to(folder).with_suffix("").as_posix())
    elif path.suffix in (".jsonl", ".json") and path.is_file():
        for number, row in enumerate(_rows(path), start=1):
            texts = [row[key] for key in _TEXT_KEYS if isinstance(row.get(key), str)]
            title = row.get("title")
            if texts:  # questions may lie beside the passages
                metadata = {"title": title} if isinstance(title, str) else {}
                yield Document(texts[0], id=str(row.get("id", f"{path.stem}:{number}")), metadata=metadata)


def _rows(path: Path) -> list[dict[str, Any]]:
    text = _read(path)
    try:
        is_list = text.lstrip().startswith("[")
        rows = json.loads(text) if is_list else [json.loads(line) for line in text.split("\n") if line.strip()]
    except ValueError as error:
        raise ConfigurationError(f"{path} is neither JSON lines nor a JSON list: {error}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise ConfigurationError(f"{path} must hold JSON objects, one a row.")
    return rows


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
