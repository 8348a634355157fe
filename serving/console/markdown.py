"""Markdown of model cards as HTML: its markup stays text, links lead to web pages only, pictures are left out. Pure."""

from __future__ import annotations

from functools import cache

from markdown_it import MarkdownIt
from markupsafe import Markup


@cache
def _build_parser() -> MarkdownIt:
    # Without `html`, tags of the text are escaped; links with a scheme such as javascript: are not made.
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def render_markdown(text: str) -> Markup:
    """HTML of Markdown that nobody needs to trust; headings are two levels lower than in the text."""
    parser = _build_parser()
    tokens = parser.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
        # Alignment would be an inline style, which the policy of pages forbids.
        token.attrs.pop("style", None)
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704 - escaped by the parser
