"""Access to the HTML report: a token with the scope `monitor`, or a signed link of that report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from starlette.requests import Request

from accident_reco.drift.report_links import EXPIRES, SIGNATURE, find_link_problem
from serving.common.guard import Guard, RequiredScope
from serving.common.problems import Problem


class ScopeOrSignature(RequiredScope):
    """Requires the scope, or the signature of a link to this report instead of credentials."""

    def __init__(self, guard: Guard, scope: str, secret: Callable[[], str]) -> None:
        super().__init__(guard, scope)
        self._secret = secret

    async def check(self, request: Request) -> None:
        """Raises Problem 401, 403, 429 or 503."""
        query = request.query_params
        if SIGNATURE not in query:
            await super().check(request)
            return
        await self.guard.rate_limit_by_address(request)
        is_repeated = any(len(query.getlist(name)) != 1 for name in ("id", EXPIRES, SIGNATURE))
        problem = (
            "a parameter is missing or repeated"
            if is_repeated
            else find_link_problem(self._secret(), request.path_params["model"], query, datetime.now(UTC))
        )
        if problem is not None:
            request.scope["state"]["refusal"] = problem
            raise Problem(
                403,
                f"This link does not open the report: {problem}. Open it again from the console or from Dagster.",
                kind="invalid-link",
            )
        request.scope["state"]["subject"] = "signed-link"
