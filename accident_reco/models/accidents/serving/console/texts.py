"""The words of the pages in English and French, from `texts.toml`; those of fields and codes are in the codebook."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files

from accident_reco.models.accidents.serving.console.form_layout import Language


@cache
def read_texts() -> Mapping[str, tuple[str, str]]:
    """Key → English, French."""
    content = files(__package__).joinpath("texts.toml").read_text(encoding="utf-8")
    return {key: (english, french) for key, (english, french) in tomllib.loads(content).items()}


def build_translator(language: Language) -> Callable[[str], str]:
    """A function from a key to the words of a language. Raises KeyError for an unknown key."""
    texts, at = read_texts(), 1 if language == "fr" else 0
    return lambda key: texts[key][at]
