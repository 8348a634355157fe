"""The contract is read to write a model: every member of it is explained."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from accident_reco import contract


def _members() -> Iterator[tuple[str, str | None]]:
    """Name of each class, function, constant and public member → its docstring."""
    module = ast.parse(Path(inspect.getfile(contract)).read_text(encoding="utf-8"))
    yield "module", ast.get_docstring(module)
    yield from _of(module.body, "")


def _of(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str | None]]:
    for node, after in zip(body, [*body[1:], None], strict=True):
        match node:
            case ast.ClassDef(name=name):
                yield prefix + name, ast.get_docstring(node)
                is_dataclass = any("dataclass" in ast.dump(decorator) for decorator in node.decorator_list)
                described = ast.get_docstring(node) or ""
                for member, text in _of(node.body, f"{prefix}{name}."):
                    field = member.rpartition(".")[2]
                    # Fields of a dataclass may be explained in its docstring instead.
                    yield member, text or (described if is_dataclass and _is_described(field, described) else None)
            case ast.FunctionDef(name=name) if not name.startswith("_"):
                yield prefix + name, ast.get_docstring(node)
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                constant = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                yield prefix + name, str(after.value.value) if constant else None  # type: ignore[union-attr]


def _is_described(field: str, text: str) -> bool:
    return f"{field}:" in text or f"`{field}`" in text or f"{field}, " in text


def test_every_member_has_a_docstring() -> None:
    """Classes, methods, attributes and fields."""
    members = dict(_members())
    assert {"Model", "Model.name", "ModelServing.load", "ModelTraining.fit", "Task.kind", "Label.body"} <= set(members)
    assert [name for name, text in members.items() if not text] == []


def test_every_abstract_member_is_one_that_a_model_needs() -> None:
    """What a model has to write: few members, all others have a default."""
    needed = {
        kind.__name__: sorted(kind.__abstractmethods__)
        for kind in (
            contract.Model,
            contract.ModelServing,
            contract.ModelTraining,
        )
    }
    assert needed == {
        "Model": ["serving", "training"],
        "ModelServing": ["inference", "load", "routers"],
        "ModelTraining": ["compare", "data_source", "definitions", "evaluate", "fit", "gate_policy"],
    }
