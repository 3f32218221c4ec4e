"""JSON schemas as GBNF, the same on every engine.

A converter of our own, since the two engines' differ: xllamacpp's writes a grammar for llguidance, which its wheel is
built without, so that nothing is enforced; llama-cpp-python's is its own dialect. Both engines get this one, and greedy
replies agree.

Enforced: types, properties in the order they are declared, required and optional ones, enum, const, anyOf, oneOf (as
anyOf), allOf of objects, $ref within the schema (recursive too), items, prefixItems, minItems, maxItems, minLength,
maxLength; of these counts, those above 2,000 are too large for a grammar. They, and keywords that only narrow a value
further (pattern, format, minimum, multipleOf, ...) are left to whoever parses the reply. JSON is written with at most
one space between tokens, for a small model will happily write spaces until the context is full.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_divconq.errors import GrammarError

_HEX = "[0-9a-fA-F]"
_BASICS = {
    "space": '" "?',
    "char": rf'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" {_HEX} {_HEX} {_HEX} {_HEX})',
    "string": r'"\"" char* "\""',
    "integer": '"-"? ("0" | [1-9] [0-9]{0,15})',
    "number": '"-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "value": "object | array | string | number | boolean | null",
    "member": 'string space ":" space value',
    "object": '"{" space (member space ("," space member space)*)? "}"',
    "array": '"[" space (value space ("," space value space)*)? "]"',
}
_MOST_REPEATED = 2000  # llama.cpp's own limit
_TYPES = ("string", "integer", "number", "boolean", "null", "object", "array")
# The keywords that speak of a type, for schemas that leave the type out.
_IMPLIED = {
    "object": {"properties", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"minLength", "maxLength"},
}


def schema_grammar(schema: str) -> str:
    """Return GBNF for a JSON schema, as JSON text; what cannot be expressed raises a GrammarError."""
    try:
        return _Converter(json.loads(schema)).grammar()
    except RecursionError:
        raise GrammarError("The schema is nested too deeply to be turned into a grammar.") from None
    except json.JSONDecodeError as error:
        raise GrammarError(f"The schema is not JSON: {error}.") from error


class _Converter:
    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.rules: dict[str, str] = {}
        self.references: dict[str, str] = {}

    def grammar(self) -> str:
        self.rules["root"] = self.rule(self.schema)
        used = {**_BASICS, **self.rules}
        return "\n".join(f"{name} ::= {body}" for name, body in used.items()) + "\n"

    def rule(self, schema: Any) -> str:
        """Return the expression for a schema, one that can stand in a sequence."""
        if schema is True or schema == {}:
            return "value"
        if not isinstance(schema, Mapping):
            raise GrammarError(f"A JSON schema is an object or true, not {schema!r:.80}.")
        if "$ref" in schema:
            return self.reference(schema["$ref"])
        if "const" in schema:
            return _literal(_dump(schema["const"]))
        if "enum" in schema:
            return _any(_literal(_dump(choice)) for choice in _list(schema, "enum"))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return _any(self.rule(choice) for choice in _list(schema, keyword))
        if "allOf" in schema:
            return self.rule(self.merged(schema))
        kind = schema.get("type")
        if isinstance(kind, list):
            return _any(self.rule({**schema, "type": choice}) for choice in kind)
        if kind is None:
            kind = next((guess for guess, keywords in _IMPLIED.items() if keywords & schema.keys()), None)
            if kind is None:
                return "value"
        if kind not in _TYPES:
            raise GrammarError(f"There is no JSON type {kind!r:.80}; there are {', '.join(_TYPES)}.")
        if _IMPLIED.get(kind, set()).isdisjoint(schema):
            return str(kind)
        return {"object": self.object, "array": self.array, "string": self.string}[kind](schema)

    def reference(self, path: object) -> str:
        if not isinstance(path, str) or not path.startswith("#"):
            raise GrammarError(f"Only references within the schema can be followed (#/...), not {path!r:.80}.")
        if path not in self.references:
            target: Any = self.resolve(path)
            name = self.references[path] = f"ref-{len(self.references)}"
            self.rules[name] = self.rule(target)
        return self.references[path]

    def resolve(self, path: str) -> Any:
        target: Any = self.schema
        for part in path.lstrip("#").split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, Mapping) or part not in target:
                raise GrammarError(f"The schema refers to {path}, which is not in it.")
            target = target[part]
        return target

    def merged(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
        for part in _list(schema, "allOf"):
            while isinstance(part, Mapping) and isinstance(part.get("$ref"), str):
                part = self.resolve(part["$ref"])
            if not isinstance(part, Mapping):
                raise GrammarError(f"A JSON schema is an object or true, not {part!r:.80}.")
            part = self.merged(part) if "allOf" in part else part
            for key, value in part.items():
                if key == "properties":
                    merged[key] = {**merged.get(key, {}), **value}
                elif key == "required":
                    merged[key] = [*merged.get(key, []), *value]
                else:
                    merged.setdefault(key, value)
        return merged

    def object(self, schema: Mapping[str, Any]) -> str:
        properties = schema.get("properties", {})
        if not isinstance(properties, Mapping):
            raise GrammarError(f"The properties of a schema are an object, not {properties!r:.80}.")
        required = schema.get("required", [])
        members = [
            (f'{_literal(_dump(name))} space ":" space {self.rule(value)} space', name in required)
            for name, value in properties.items()
        ]
        extra = schema.get("additionalProperties", not properties)
        if extra is not False and not properties:
            value = self.rule(extra)
            entry = self.name(f'string space ":" space {value} space')
            return f'"{{" space ({entry} ("," space {entry})*)? "}}"'
        # What may follow depends on whether anything stands before it, for the comma: two rules for each place.
        after_some, after_none = '""', '""'
        for text, needed in reversed(members):
            member = self.name(text)
            with_it = self.name(f"{member} {after_some}")
            comma = f'"," space {with_it}'
            after_none = with_it if needed else self.name(f"{with_it} | {after_none}")
            after_some = self.name(comma if needed else f"{comma} | {after_some}")
        return f'"{{" space {after_none} "}}"'

    def array(self, schema: Mapping[str, Any]) -> str:
        least, most = _count(schema, "minItems") or 0, _count(schema, "maxItems")
        if most is not None and most < least:
            raise GrammarError(f"maxItems ({most}) is less than minItems ({least}).")
        firsts = _list(schema, "prefixItems") if "prefixItems" in schema else []
        items = [self.name(f"{self.rule(item)} space") for item in firsts]
        if schema.get("items", True) is not False:
            rest = self.name(f"{self.rule(schema.get('items', True))} space")
            items += [rest] * (max(least, 1) - len(items))
            if most is None:
                bound = "*"
            else:
                items = items[: max(most, 0)]
                bound = f"{{0,{most - len(items)}}}" if most > len(items) else ""
            tail = f'("," space {rest}){bound}' if bound else '""'
        else:
            tail = '""'
        # Built from the end: everything beyond minItems (and beyond the tuple's length) is optional.
        needed = max(least, len(firsts)) if "prefixItems" in schema else least
        for place in range(len(items) - 1, -1, -1):
            comma = '"," space ' if place else ""
            tail = f"{comma}{items[place]} {tail}" if place < needed else f"({comma}{items[place]} {tail})?"
        return f'"[" space {tail} "]"'

    def string(self, schema: Mapping[str, Any]) -> str:
        least, most = _count(schema, "minLength") or 0, _count(schema, "maxLength")
        if most is not None and most < least:
            raise GrammarError(f"maxLength ({most}) is less than minLength ({least}).")
        if most == 0:
            return r'"\"\""'
        return rf'"\"" char{{{least},{"" if most is None else most}}} "\""'

    def name(self, body: str) -> str:
        for name, known in self.rules.items():
            if known == body and name != "root":
                return name
        name = f"rule-{len(self.rules)}"
        self.rules[name] = body
        return name


def _any(choices: Any) -> str:
    alternatives = list(choices)
    if not alternatives:
        raise GrammarError("The schema allows no value: an enum, anyOf or type has no choices.")
    return f"({' | '.join(alternatives)})"


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _list(schema: Mapping[str, Any], keyword: str) -> Sequence[Any]:
    value = schema[keyword]
    if not isinstance(value, list):
        raise GrammarError(f"{keyword} takes a list, not {value!r:.80}.")
    return value


def _count(schema: Mapping[str, Any], keyword: str) -> int | None:
    value = schema.get(keyword)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise GrammarError(f"{keyword} is a whole number from 0, not {value!r:.80}.")
    return None if value is not None and value > _MOST_REPEATED else value


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
