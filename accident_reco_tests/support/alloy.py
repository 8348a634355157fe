"""Alloy's pipeline of log lines, in Python: the stages of deploy/loki/alloy.alloy, read from the file itself.

Follows Alloy's source where it matters: a match stage compares stream labels and the line; the multiline stage passes
lines through until the first one that begins a block, and then joins every other line to the block before it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import jmespath

from accident_reco.launch.stack_config import DEPLOY

ALLOY = (DEPLOY / "loki" / "alloy.alloy").read_text()
_TOKEN = re.compile(r'//[^\n]*|`[^`]*`|"(?:[^"\\]|\\.)*"|[A-Za-z_][\w.]*|[{}\[\]=,]|\d+|\s+')


@dataclass
class Block:
    """A block of Alloy's syntax: `name "label" { attribute = value … inner blocks … }`."""

    name: str
    label: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)


@dataclass
class Entry:
    """A line on its way to Loki."""

    line: str
    labels: dict[str, str]
    extracted: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    timestamp: str = ""
    order: int = 0

    def json(self) -> dict[str, Any]:
        """The line's object."""
        found: dict[str, Any] = json.loads(self.line)
        return found


def parse(text: str) -> list[Block]:
    """The blocks of a file. Raises ValueError for text that is not Alloy's syntax."""
    tokens, position = [], 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise ValueError(f"unexpected text: {text[position : position + 40]!r}")
        position = found.end()
        if not found[0].isspace() and not found[0].startswith("//"):
            tokens.append(found[0])
    reader = _Reader(tokens)
    blocks = []
    while reader.tokens:
        blocks.append(reader.block())
    return blocks


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens[::-1]

    def take(self, wanted: str = "") -> str:
        token = self.tokens.pop()
        if wanted and token != wanted:
            raise ValueError(f"expected {wanted!r}, not {token!r}")
        return token

    def block(self) -> Block:
        made = Block(self.take())
        if self.tokens[-1].startswith('"'):
            made.label = self.value()
        self.take("{")
        while self.tokens[-1] != "}":
            if self.tokens[-2] == "=":
                name = self.take()
                self.take("=")
                made.attributes[name] = self.value()
            else:
                made.blocks.append(self.block())
        self.take("}")
        return made

    def value(self) -> Any:
        token = self.take()
        if token == "{":
            made = {}
            while self.tokens[-1] != "}":
                name = self.take()
                self.take("=")
                made[name] = self.value()
                if self.tokens[-1] == ",":
                    self.take()
            self.take("}")
            return made
        if token == "[":
            items = []
            while self.tokens[-1] != "]":
                items.append(self.value())
                if self.tokens[-1] == ",":
                    self.take()
            self.take("]")
            return items
        if token.startswith("`"):
            return token[1:-1]
        if token.startswith('"'):
            return json.loads(token)
        return {"true": True, "false": False}.get(token, token)


def send(lines: Iterable[str], service: str, container: str = "", text: str = ALLOY) -> list[Entry]:
    """Entries that Loki receives for lines that containers of a service write within three seconds."""
    return Pipeline(text).run(Entry(line, {"service": service, "container": container}) for line in lines)


class Pipeline:
    """The stages of the `loki.process` component; `dropped` counts lines by reason, `counted` what alerts read."""

    def __init__(self, text: str = ALLOY) -> None:
        (process,) = [block for block in parse(text) if block.name == "loki.process"]
        self.stages = process.blocks
        self.dropped: Counter[str] = Counter()
        self.counted: Counter[tuple[str, str]] = Counter()

    def run(self, entries: Iterable[Entry]) -> list[Entry]:
        """Entries in the order of their first lines."""
        numbered = [replace(entry, order=order) for order, entry in enumerate(entries)]
        return sorted(self._through(self.stages, numbered), key=lambda entry: entry.order)

    def _through(self, stages: list[Block], entries: list[Entry]) -> list[Entry]:
        for stage in stages:
            entries = getattr(self, f"_{stage.name.removeprefix('stage.')}")(stage, entries)
        return entries

    def _match(self, stage: Block, entries: list[Entry]) -> list[Entry]:
        matches = _selector(stage.attributes["selector"])
        chosen = [matches(entry) for entry in entries]
        rest = [entry for entry, fits in zip(entries, chosen, strict=True) if not fits]
        if stage.attributes.get("action") == "drop":
            self.dropped[stage.attributes["drop_counter_reason"]] += sum(chosen)
            return rest
        return rest + self._through(stage.blocks, [e for e, fits in zip(entries, chosen, strict=True) if fits])

    def _multiline(self, stage: Block, entries: list[Entry]) -> list[Entry]:
        first = re.compile(stage.attributes["firstline"])
        most = int(stage.attributes["max_lines"])
        blocks: dict[tuple[tuple[str, str], ...], list[Entry]] = {}
        done = []
        for entry in entries:
            key = tuple(sorted(entry.labels.items()))
            begins = first.search(entry.line) is not None
            if key not in blocks and not begins:
                done.append(entry)
                continue
            block = blocks.setdefault(key, [])
            if begins or block[-1].line.count("\n") + 1 >= most:
                block.append(Entry(entry.line, dict(entry.labels), dict(entry.extracted), order=entry.order))
            else:
                block[-1].line += f"\n{entry.line}"
        return done + [entry for block in blocks.values() for entry in block]

    def _json(self, stage: Block, entries: list[Entry]) -> list[Entry]:
        for entry in entries:
            try:
                document = json.loads(entry.line)
            except json.JSONDecodeError:
                continue
            for name, expression in stage.attributes["expressions"].items():
                found = jmespath.search(expression or name, document)
                if found is not None:
                    entry.extracted[name] = found if isinstance(found, str) else json.dumps(found)
        return entries

    def _drop(self, stage: Block, entries: list[Entry]) -> list[Entry]:
        pattern = re.compile(stage.attributes["expression"])
        kept = [entry for entry in entries if not pattern.search(entry.extracted.get(stage.attributes["source"], ""))]
        self.dropped[stage.attributes["drop_counter_reason"]] += len(entries) - len(kept)
        return kept

    def _template(self, stage: Block, entries: list[Entry]) -> list[Entry]:
        source = stage.attributes["source"]
        for entry in entries:
            entry.extracted[source] = _render(stage.attributes["template"], entry.extracted.get(source))
        return entries

    def _labels(self, stage: Block, entries: list[Entry]) -> list[Entry]:
        for entry in entries:
            for name, source in stage.attributes["values"].items():
                if (source or name) in entry.extracted:
                    entry.labels[name] = entry.extracted[source or name]
        return entries

    def _static_labels(self, stage: Block, entries: list[Entry]) -> list[Entry]:
        for entry in entries:
            entry.labels |= stage.attributes["values"]
        return entries

    def _label_drop(self, stage: Block, entries: list[Entry]) -> list[Entry]:
        for entry in entries:
            for name in stage.attributes["values"]:
                entry.extracted[name] = entry.labels.pop(name, "")  # a component's labels are extracted at its start
        return entries

    def _structured_metadata(self, stage: Block, entries: list[Entry]) -> list[Entry]:
        for entry in entries:
            for name, source in stage.attributes["values"].items():
                if entry.extracted.get(source or name):
                    entry.metadata[name] = entry.extracted[source or name]
        return entries

    def _timestamp(self, stage: Block, entries: list[Entry]) -> list[Entry]:
        for entry in entries:
            entry.timestamp = entry.extracted.get(stage.attributes["source"], "")
        return entries

    def _metrics(self, stage: Block, entries: list[Entry]) -> list[Entry]:
        (counter,) = stage.blocks
        assert (counter.name, counter.attributes["match_all"]) == ("metric.counter", True)
        self.counted.update((entry.labels["service"], entry.labels["level"]) for entry in entries)
        return entries


def _selector(text: str) -> Any:
    """A LogQL selector with at most one line filter, as a function of an entry."""
    found = re.fullmatch(r'\{(\w+)(=~|!=|=)"([^"]*)"\}(?: (\|~|!~) ("(?:[^"\\]|\\.)*"))?', text)
    assert found is not None, text
    name, operator, value, filtered, quoted = found.groups()
    line = re.compile(json.loads(quoted)) if quoted else None

    def matches(entry: Entry) -> bool:
        label = entry.labels.get(name, "")
        fits = {"=": label == value, "!=": label != value, "=~": bool(re.fullmatch(value, label))}[operator]
        return fits and (line is None or (line.search(entry.line) is not None) == (filtered == "|~"))

    return matches


def _render(template: str, value: str | None) -> str:
    """The one template of the file: a chain of replacements, or a default where there is no value."""
    found = re.fullmatch(
        r"\{\{ if \.Value \}\}\{\{ ToLower \.Value (.*) \}\}\{\{ else \}\}(\w+)\{\{ end \}\}", template
    )
    assert found is not None, template
    if not value:
        return found[2]
    value = value.lower()
    steps = re.findall(r'\| replace "(\w+)" "(\w+)"', found[1])
    assert len(steps) == found[1].count("|"), template
    for old, new in steps:
        value = value.replace(old, new)
    return value
