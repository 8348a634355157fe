"""The console's own sections, in the order of the navigation; models bring theirs (`contract.Model.console`)."""

from __future__ import annotations

from typing import Final

from serving.console.pages import admin, drift, models, monitoring, overview
from serving.console.sections import Section

SECTIONS: Final[tuple[Section, ...]] = (
    overview.SECTION,
    drift.SECTION,
    models.SECTION,
    monitoring.SECTION,
    admin.SECTION,
)
