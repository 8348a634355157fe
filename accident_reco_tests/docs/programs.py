"""The page of commands: `accident-reco` from its own help, make targets, programs from their modules."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accident_reco_tests.docs.markdown import Lines, code, table

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("accident_reco", "serving", "accident_reco_tests/bench", "accident_reco_tests/mutants")
TARGET = re.compile(r"^([a-z-]+):.*## (.+)$", re.MULTILINE)
MAIN = re.compile(r"^if __name__ == .__main__.:$", re.MULTILINE)


def commands() -> Lines:
    """`accident-reco`, make targets and programs."""
    from accident_reco.cli.command import EXIT_CODES

    yield "# Commands\n\nWhich commands are there, and what do their exit codes mean?"
    yield "\n## accident-reco\n\nThe command of the package (`python -m accident_reco.cli` is the same); in a clone,"
    yield "activate the environment first (`. .venv/bin/activate`). Each command has `--help`; [settings](settings.md)"
    yield "are environment variables."
    yield "\nOn a terminal results are tables with colour (`NO_COLOR=1` without). In a pipe each row is one line of"
    yield "tab-separated fields that starts with the table's name; `--json` prints JSON. Notes and progress of commands"
    yield "with a result go to the error output."
    codes = EXIT_CODES.partition(": ")[2].split(" · ")
    yield from table(("exit code", "meaning"), (one.split(" ", 1) for one in codes))
    lines = dict(command_lines())
    yield from table(("command", "description"), ((_link(words), _first(one.help)) for words, one in lines.items()))
    for words, one in lines.items():
        yield from describe(words, one)
    yield "\n## Make targets\n\nThe front for a clone: they install the environment and call `accident-reco`."
    yield from table(("command", "description"), ((code(f"make {name}"), text) for name, text in targets()))
    yield "\n## Programs\n\nFor single processes and measurements; each has `--help`."
    rows = ((code(f"python -m {name}"), text) for name, text in programs())
    yield from table(("program", "description"), rows)


def targets() -> list[tuple[str, str]]:
    """Make targets with their descriptions, as `make help` lists them."""
    return TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8"))


def programs() -> Iterator[tuple[str, str]]:
    """Modules that run as `python -m` and have arguments, with the first paragraph of their docstring."""
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if MAIN.search(text) and "ArgumentParser(" in text:
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
            summary = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
            yield module, summary


def command_lines(command: Any = None, words: str = "accident-reco") -> Iterator[tuple[str, Any]]:
    """Commands of `accident-reco` with the words that call each, such as `accident-reco users add`; groups left out."""
    if command is None:
        import typer

        from accident_reco.cli.app import app

        command = typer.main.get_command(app)
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from command_lines(inner, f"{words} {name}")
        else:
            yield f"{words} {name}", inner


def describe(words: str, command: Any) -> Iterator[str]:
    """Markdown of one command: what it does, its arguments and options, examples."""
    from accident_reco.cli.command import MODEL_PLACE

    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and one.name != "help"]
    usage = " ".join([words, *("[OPTIONS]" for _ in options[:1]), *(_place(one) for one in arguments)])
    yield f"\n### {words}\n\n`{usage}`\n\n{_clean(command.help)}"
    if arguments or options:
        yield "\n| argument or option | description |\n|---|---|"
        for one in arguments:
            yield f"| `{_place(one)}` | {_clean(one.help)} |".replace("\n", " ")
        for one in options:
            value = "" if one.is_flag else f" {one.metavar or one.name.upper()}"
            required = " Required." if one.required else ""
            yield f"| `{', '.join(one.opts)}{value}` | {_clean(one.help)}{required} |"
    examples = [line.strip().strip("`") for line in (command.epilog or "").splitlines() if "accident-reco" in line]
    if examples:
        yield "\n```text"
        yield from (example.replace(MODEL_PLACE, "accidents") for example in examples)
        yield "```"


def _place(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    many = "..." if argument.nargs != 1 else ""
    return f"{name}{many}" if argument.required else f"[{name}{many}]"


def _clean(text: str | None) -> str:
    """A docstring or help text as paragraphs of one line."""
    paragraphs = (" ".join(part.split()) for part in (text or "").split("\n\n"))
    return "\n\n".join(paragraphs).strip()


def _link(words: str) -> str:
    return f"[`{words}`](#{words.replace(' ', '-')})"


def _first(text: str) -> str:
    return _clean(text).partition("\n\n")[0]
