"""Rows of ours in the datasets' forms, and how they are read."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from training.config import Source, SourceName
from training.data.sources import read_source
from training.example import Example, Recorded, Split

Row = dict[str, Any]
SOCRATIC: Row = {
    "question": "Rosa bakes 4 trays of 15 rolls and 3 trays of 12. She sells 38 and packs the rest in bags of 2. "
    "How many bags does she fill?",
    "answer": "How many rolls are on the large trays? ** They hold 4*15=<<4*15=60>>60 rolls.\n"
    "How many rolls are on the small trays? ** They hold 3*12=<<3*12=36>>36 rolls.\n"
    "How many rolls does she bake? ** She bakes 60+36=<<60+36=96>>96 rolls.\n"
    "How many rolls are left? ** There are 96-38=<<96-38=58>>58 left.\n"
    "How many bags does she fill? ** She fills 58/2=<<58/2=29>>29 bags.\n#### 29",
}
STRATEGY: Row = {
    "qid": "a1",
    "question": "Could a heron swallow a piano?",
    "answer": False,
    "decomposition": ["How wide is a heron's throat?", "How wide is a piano? ", "Is #1 greater than #2 ?"],
}
MUSIQUE: Row = {
    "question": "Where was the builder of the Lenne Mill born?",
    "answer": "Altena",
    "decomposition": [
        {"question": "who built the lenne mill", "answer": "Ida Voss", "evidence": "Ida Voss built the mill."},
        {"question": "#1 >> place of birth", "answer": "Altena", "evidence": "She was born in Altena."},
    ],
}
WIKI2: Row = {
    "question": "Where was the director of film Grey Harbour (1951 Film) born?",
    "answer": "Altena",
    "evidence": ["Grey Harbour->director->Ida Voss", "Ida Voss (director)->place of birth->Altena"],
}
QDMR: Row = {
    "question_id": "DROP_train_nfl_1_x",
    "question_text": "How many more passes did Voss throw than Lund?",
    "decomposition": "return passes that  Voss threw ;return passes of  Lund ;return number of #1 ;"
    "return number of #2 ;return difference of #3 and  #4",
}


def save(rows: Iterable[Row], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(tmp_path: Path, name: SourceName, *rows: Row, split: Split = "train") -> list[Example]:
    return list(read_source(Source(name=name, split=split, path=save(rows, tmp_path / f"{split}.jsonl"))))


def recorded(example: Example) -> Recorded:
    assert example.recorded is not None
    return example.recorded


def subquestions(example: Example) -> tuple[str, ...]:
    return recorded(example).subquestions
