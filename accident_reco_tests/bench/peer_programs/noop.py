"""An authenticated endpoint that does nothing: the body of one record, validated, and an answer of the same size.

FastAPI, pydantic, orjson, uvicorn with uvloop and httptools; the access log is off. A token is verified once and
remembered, as the platform does. Run: python noop.py PORT KEY
"""

import sys
from typing import Annotated

import jwt
import orjson
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, ConfigDict, create_model
from starlette.responses import Response

KEY = sys.argv[2]
ANSWER = {
    "model": "accidents",
    "version": "0" * 16,
    "data_source": "sample",
    "context": "partial",
    "predictions": [
        {"prediction_id": "0" * 26, "probability": 0.123456, "severity": "light", "uncertain": False},
    ],
}
remembered: set[str] = set()


FIELDS: dict[str, type] = {
    "catu": int,
    "place": int,
    "sexe": int,
    "an_nais": int,
    "secu1": int,
    "catv": int,
    "lum": int,
    "agg": int,
    "int": int,
    "atm": int,
    "col": int,
    "catr": int,
    "circ": int,
    "vma": int,
    "an": int,
    "mois": int,
    "jour": int,
    "hrmn": str,
    "dep": str,
    "lat": float,
    "long": float,
}
# Made from a table: one of the fields has the name of a type.
Record = create_model(
    "Record", __config__=ConfigDict(extra="forbid"), **{name: (kind | None, None) for name, kind in FIELDS.items()}
)


class Body(BaseModel):
    """The request."""

    records: list[Record]  # type: ignore[valid-type]


def authenticate(authorization: Annotated[str, Header()]) -> str:
    """The token, verified once."""
    token = authorization.removeprefix("Bearer ")
    if token not in remembered:
        try:
            jwt.decode(token, KEY, algorithms=["HS256"])
        except jwt.InvalidTokenError:
            raise HTTPException(401) from None
        remembered.add(token)
    return token


app = FastAPI(openapi_url=None)


@app.post("/predict/accidents")
async def predict(body: Body, token: Annotated[str, Depends(authenticate)]) -> Response:
    """Answer the same to everybody."""
    return Response(orjson.dumps(ANSWER), media_type="application/json")


@app.get("/readyz")
async def ready() -> Response:
    """Ready."""
    return Response(b"{}")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
