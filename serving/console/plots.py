"""Drawings of two samples against each other: distributions, calibration. As `charts`: SVG without script. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

from serving.console.svg import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Scale, build_path, build_svg, draw_axis, num

SMALL: Final = (168.0, 44.0)
LARGE: Final = (WIDTH, 130.0)


def distributions(
    title: str,
    reference: Sequence[float],
    window: Sequence[float],
    *,
    size: tuple[float, float] = SMALL,
    tone: str = "tone-1",
) -> Markup:
    """Shares of two samples in the same bins: the reference as bars, the window as a line over them."""
    highest = max([0.0, *reference, *window])
    if not reference or highest <= 0:
        return Markup("")
    width, height = size
    x, y = Scale(0, len(reference), 2, width - 2), Scale(0, highest, height - 1, 3)
    bars = "".join(
        f"M{num(x(place) + 0.5)} {num(height - 1)}V{num(y(share))}H{num(x(place + 1) - 0.5)}V{num(height - 1)}Z"
        for place, share in enumerate(reference)
    )
    line = "".join(
        f"{'L' if place else 'M'}{num(x(place))} {num(y(share))}H{num(x(place + 1))}"
        for place, share in enumerate(window)
    )
    parts = [
        Markup('<path class="none" opacity="0.4" d="{}"/>').format(bars),
        Markup('<path class="line {}" d="{}"/>').format(tone, line),
    ]
    return build_svg(title, width, height, parts, "small" if size == SMALL else "chart")


def calibration(title: str, bins: Sequence[Mapping[str, Any]]) -> Markup:
    """Observed rate over mean prediction of each bin, with the diagonal on which a calibrated model is.

    Args:
        bins: each with `predicted` and `observed`, and `rows`.
    """
    if not bins:
        return Markup("")
    low = min(0.0, *(float(one[name]) for one in bins for name in ("predicted", "observed")))
    high = max(float(one[name]) for one in bins for name in ("predicted", "observed"))
    high = high if high > low else low + 1
    height = 260.0
    x, y = Scale(low, high, LEFT, WIDTH - RIGHT), Scale(low, high, height - BOTTOM, TOP)
    parts = [
        draw_axis(y),
        Markup('<line class="none" stroke-dasharray="4 4" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
            num(x(low)), num(y(low)), num(x(high)), num(y(high))
        ),
        Markup('<path class="line tone-1" d="{}"/>').format(
            build_path([(x(float(one["predicted"])), y(float(one["observed"]))) for one in bins])
        ),
    ]
    parts += [
        Markup('<circle class="tone-1" cx="{}" cy="{}" r="3"><title>{}</title></circle>').format(
            num(x(float(one["predicted"]))),
            num(y(float(one["observed"]))),
            f"predicted {one['predicted']:.3f}, observed {one['observed']:.3f}, {one['rows']:,.0f} rows",
        )
        for one in bins
    ]
    parts.append(
        Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
            num(WIDTH - RIGHT), num(height - 6), "mean prediction"
        )
    )
    return build_svg(title, WIDTH, height, parts, "chart")
