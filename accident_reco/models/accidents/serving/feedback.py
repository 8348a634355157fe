"""Label of an accident prediction: the official severity of the road user."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from accident_reco.contract import Label
from accident_reco.models.accidents.codebook import SEVERE


class AccidentFeedback(BaseModel):
    """The actual severity of one predicted road user."""

    model_config = ConfigDict(extra="forbid")

    severity: Annotated[
        int,
        Field(
            strict=True,
            ge=1,
            le=4,
            description="Official grav code: 1 unharmed, 2 killed, 3 hospitalised, 4 slightly injured",
        ),
    ]


class FeedbackAnswer(BaseModel):
    """The stored label."""

    prediction_id: str
    severity: int
    grave: bool = Field(description="Whether the severity is killed or hospitalised (2 or 3)")
    status: Literal["accepted", "known"] = Field(description="`known`: the same label was reported before")


def _build_label_fields(body: AccidentFeedback) -> dict[str, Any]:
    return {"severity": body.severity, "grave": body.severity in SEVERE}


LABEL: Final = Label(
    body=AccidentFeedback,
    outcome=lambda body: float(body.severity in SEVERE),
    shown=_build_label_fields,
    stored=_build_label_fields,
    answer=FeedbackAnswer,
    summary="Report the actual severity of a prediction",
)
