"""The HTTP side of a model whose request is a list of flat records: one record class and one table of answer fields.

From these it builds `POST /predict/{model}`, the model's adapter for the Open Inference Protocol, and both shapes for
the documentation. A model with nested requests or several endpoints writes its own (`contract.ModelServing.routers`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, NamedTuple, Protocol

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo
from starlette.responses import Response

from accident_reco.contract import ModelServing
from serving.common.app import build_router, json_response
from serving.common.body_limits import FewErrors
from serving.common.problems import Problem, build_field_errors, responses
from serving.predict.context import Context
from serving.predict.model_slot import Champion
from serving.predict.prediction_log import new_id
from serving.predict.rollout.work import Method, Work, merge_lists
from serving.predict.schemas import ServedVersion
from serving.predict.tensors import DTYPES, InvalidInference, TensorSpec
from serving.predict.v2 import InferenceAdapter, InferenceResult

PREDICTION_ID: Final = "prediction_id"
_TENSORS: Final[Mapping[Any, str]] = {float: "FP64", int: "INT64", bool: "BOOL", str: "BYTES"} | {
    float | None: "FP64",
    str | None: "BYTES",
}


class Record(BaseModel):
    """One row of a request; `float`, `int`, `bool`, `str`, `float | None` or `str | None` a field, else TypeError."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class AnswerField(NamedTuple):
    """One field of a prediction; `kind` is `float`, `int`, `bool` or `str`."""

    name: str
    kind: type
    description: str


class TabularVersion(Protocol):
    """A loaded version of the model, as `ModelServing.load` returns it."""

    def predict(self, columns: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Columns of the records → answer fields, all of shape (n,). A missing number is NaN, a missing text None."""


class TabularApi:
    """Router and Open Inference adapter of one model; the first answer field is the score that the log keeps."""

    platform = "numpy_accident_reco"
    max_rows = 1_000

    def __init__(self, model: str, record: type[Record], answer: Sequence[AnswerField], summary: str) -> None:
        self.model, self.record, self.answer, self.summary = model, record, tuple(answer), summary
        for name, field in record.model_fields.items():
            if field.annotation not in _TENSORS:
                raise TypeError(f"field {name} of {record.__name__}: {field.annotation} is no type that Record names")
        self.datatypes = {name: _TENSORS[field.annotation] for name, field in record.model_fields.items()}
        self._records: TypeAdapter[list[Record]] = TypeAdapter(list[record])  # type: ignore[valid-type]

    def router(self, context: Context) -> APIRouter:
        """`POST /predict/{model}`: 1 to `max_rows` records in, as many predictions out, in the same order."""
        routes = build_router("predict", requires=context.guard.require("predict"))
        body_type, answer_type = self._shapes()
        method = Method(self._score, InferenceResult.outcomes, merge_lists)

        async def predict(body: Any, request: Request) -> Response:
            champion = context.champion(self.model)
            started = time.perf_counter()
            work = Work(method, body.records)
            served = context.serve(champion, request, work)
            scored, version = served.result, served.version
            context.record(version, request, "json", time.perf_counter() - started, **scored.logged())
            context.compare(served, request, work, scored.ids, scored.inputs)
            rows = zip(scored.ids, scored.answers, strict=True)
            answer = {"model": self.model, "version": version.version, "data_source": version.data_source}
            return json_response(answer | {"predictions": [{PREDICTION_ID: i, **fields} for i, fields in rows]})

        predict.__annotations__["body"] = body_type
        shown: dict[str, Any] = {"summary": self.summary, "response_model": answer_type, "responses": responses(503)}
        routes.post(f"/predict/{self.model}", name=f"predict_{self.model}", **shown)(predict)
        return routes

    def inputs(self, champion: Champion[Any]) -> dict[str, TensorSpec]:
        """A tensor for each field of a record."""
        fields = self.record.model_fields
        return {
            name: TensorSpec(name, datatype, fields[name].is_required()) for name, datatype in self.datatypes.items()
        }

    @property
    def example(self) -> Mapping[str, Sequence[Any]]:
        """One record of the fields' examples."""
        return {name: [_find_example(field)] for name, field in self.record.model_fields.items()}

    def outputs(self) -> list[TensorSpec]:
        """The answer fields, and the id to send feedback about."""
        return [*(TensorSpec(f.name, _TENSORS[f.kind]) for f in self.answer), TensorSpec(PREDICTION_ID, "BYTES")]

    def infer(self, champion: Champion[Any], columns: Mapping[str, NDArray[Any]]) -> InferenceResult:
        """Answer a call by the rules of the JSON endpoint; NaN is a missing value. Raises Problem 422."""
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        found = [{n: v for n, v in zip(columns, row, strict=True) if v == v} for row in rows]  # NaN differs from itself
        try:
            return self._score(champion, self._records.validate_python(found))
        except ValidationError as error:
            first = build_field_errors(error.errors(include_url=False, include_input=False))[0]
            raise InvalidInference(f"Record {first['pointer']}: {first['detail']}.") from None

    def _score(self, champion: Champion[TabularVersion], records: Sequence[Record]) -> InferenceResult:
        try:
            columns = {n: np.array([getattr(r, n) for r in records], DTYPES[t]) for n, t in self.datatypes.items()}
        except OverflowError:
            raise Problem(422, "A number does not fit 64 bits.", kind="invalid-request") from None
        found = champion.model.predict(columns)
        fields = {f.name: np.asarray(found[f.name], DTYPES[_TENSORS[f.kind]]) for f in self.answer}
        call = new_id()
        ids = [f"{call}-{row}" for row in range(len(records))]
        rows = zip(*(values.tolist() for values in fields.values()), strict=True)
        tensors = {f.name: (_TENSORS[f.kind], fields[f.name]) for f in self.answer}
        return InferenceResult(
            tensors | {PREDICTION_ID: ("BYTES", np.array(ids, dtype=object))},
            ids,
            [record.model_dump(exclude_none=True) for record in records],
            fields[self.answer[0].name].astype(np.float64).tolist(),
            [dict(zip(fields, row, strict=True)) for row in rows],
        )

    def _shapes(self) -> tuple[type[BaseModel], type[BaseModel]]:
        """Body and answer of the endpoint, for validation and documentation."""
        stem = self.record.__name__
        records = Annotated[list[self.record], Field(min_length=1, max_length=self.max_rows), FewErrors()]  # type: ignore[name-defined]
        fields: dict[str, Any] = {f.name: (f.kind, Field(description=f.description)) for f in self.answer}
        fields[PREDICTION_ID] = (str, Field(description="Id of the prediction in the log, for feedback"))
        prediction = create_model(f"{stem}Prediction", **fields)
        body = create_model(f"{stem}Request", __config__=ConfigDict(extra="forbid"), records=(records, ...))
        return body, create_model(f"{stem}Answer", __base__=ServedVersion, predictions=(list[prediction], ...))  # type: ignore[valid-type]


def _find_example(field: FieldInfo) -> Any:
    """The first example of a field where it has one, else its lower bound, 0, False or an empty text."""
    if field.examples:
        return field.examples[0]
    if field.annotation in (str, str | None):
        return ""
    if field.annotation is bool:
        return False
    lowest = [rule.ge for rule in field.metadata if hasattr(rule, "ge")]
    lowest += [rule.gt + 1 for rule in field.metadata if hasattr(rule, "gt")]
    kind = int if field.annotation is int else float
    return kind(max(lowest, default=0))


class TabularServing(ModelServing):
    """Serving half of a model with one such endpoint, `api`; a subclass loads versions and describes labels."""

    api: ClassVar[TabularApi]

    def routers(self, context: Context) -> Sequence[APIRouter]:
        return [self.api.router(context)]

    def inference(self) -> InferenceAdapter:
        return self.api
