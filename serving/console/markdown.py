"""Markdown of model cards as HTML: markup stays text, links lead to web pages only, pictures are words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.token import Token
from markupsafe import Markup, escape


@cache
def _build_parser() -> MarkdownIt:
    # Without `html`, tags of the text are escaped; links with a scheme such as javascript: are not made.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("image", _render_picture)
    return parser


def _render_picture(renderer: RendererProtocol, tokens: Sequence[Token], place: int, *_: Any) -> str:
    return str(escape(tokens[place].content))


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
