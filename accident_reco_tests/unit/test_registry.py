"""Which models an installation has, and what is said about one that does not fulfil the contract."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from pydantic import Field

from accident_reco import registry
from accident_reco.contract import Model, ModelServing, ModelTraining, Task
from accident_reco.models.movies.model import MovieModel
from accident_reco.settings import Settings, SettingsError, environment, plugins

CACHED = (plugins.installed_names, plugins.load_model, environment.combine, registry._load)


class OwnSettings(Settings):
    """Weather model."""

    weather_source: str = Field("sample", description="Where it comes from")


class Clashing(Settings):
    """Another model with a setting of the movie model."""

    movies_source: str = Field("sample", description="Where it comes from")


class Weather(Model):
    """A model that fulfils the contract."""

    name = "weather"
    title = "Weather"
    description = "Whether it rains."
    drift_question = "Has the climate changed?"
    task = Task("classification", "roc_auc", True, ("roc_auc",))
    settings = OwnSettings

    def serving(self) -> ModelServing:
        raise NotImplementedError

    def training(self) -> ModelTraining:
        raise NotImplementedError


def variant(**members: Any) -> Model:
    """The model with other members; None removes one."""
    kind = type("Variant", (Weather,), {name: value for name, value in members.items() if value is not None})
    without = [name for name, value in members.items() if value is None]
    if without:
        kind = type(
            "Variant",
            (Model,),
            {name: value for name, value in vars(Weather).items() if name not in without and not name.startswith("_")},
        )
    return kind()


@dataclass(frozen=True)
class Entry:
    """An entry point, as `importlib.metadata` lists them."""

    name: str
    value: Any

    def load(self) -> Any:
        return self.value


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Declares models beside those that are installed."""
    real = plugins.entry_points

    def with_models(**models: Any) -> None:
        entries = [Entry(name, model) for name, model in models.items()]
        monkeypatch.setattr(plugins, "entry_points", lambda group: [*real(group=group), *entries])
        for function in CACHED:
            function.cache_clear()

    yield with_models
    monkeypatch.undo()
    for function in CACHED:
        function.cache_clear()


def test_models_are_those_chosen_in_their_order(tmp_path) -> None:
    """All installed ones by default; else the names in the setting, without repetition."""
    assert list(registry.models(Settings.load(home=tmp_path))) == ["accidents", "movies"]
    chosen = Settings.load(home=tmp_path, models="movies, accidents,movies")
    assert list(registry.models(chosen)) == ["movies", "accidents"]
    assert isinstance(registry.get_model(chosen, "movies"), MovieModel)


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path) -> None:
    """In the setting, with every other wrong setting; and of a model that is installed but not chosen."""
    with pytest.raises(SettingsError) as wrong:
        Settings.load(home=tmp_path, models="moves", predict_port=0)
    assert "ACCIDENT_RECO_MODELS = 'moves': no model 'moves' is installed; installed are accidents, movies" in str(
        wrong.value
    )
    assert "ACCIDENT_RECO_PREDICT_PORT" in str(wrong.value)
    only_movies = Settings.load(home=tmp_path, models="movies")
    with pytest.raises(registry.UnknownModelError, match="there is no model 'accidents'; models are movies"):
        registry.get_model(only_movies, "accidents")
    with pytest.raises(registry.UnknownModelError, match="no model 'moves' is installed"):
        plugins.load_model("moves")


def test_a_declared_model_joins(declare, tmp_path) -> None:
    """Its settings are fields of the one settings object; it is found under its name."""
    declare(weather=Weather())
    settings = Settings.load(home=tmp_path)
    assert settings.model_names == ("accidents", "movies", "weather")
    assert settings.of(OwnSettings).weather_source == "sample"
    assert list(type(settings).groups())[-1] == "Weather model"
    assert registry.get_model(settings, "weather").title == "Weather"


@pytest.mark.parametrize(
    ("entry", "model", "problem"),
    [
        ("weather", Weather, "its entry point names ABCMeta, not an instance of accident_reco.contract.Model"),
        ("wind", Weather(), "its entry point is called 'wind', its `name` is 'weather'"),
        ("Weather", variant(name="Weather"), "its name must be lower case letters, digits and underscores"),
        ("weather", variant(title=None), "it has no `title`"),
        ("weather", variant(task=None), "it has no `task`"),
        ("weather", variant(settings=dict), "its `settings` must be a subclass of accident_reco.settings.Settings"),
        (
            "weather",
            variant(task=Task("regression", "r2", True, ("r2",))),
            "its task decides live performance by 'r2'; measured are rmse, mae",
        ),
    ],
)
def test_a_model_beside_the_contract_is_refused(declare, tmp_path, entry, model, problem) -> None:
    """With the member and the rule, when the model is looked up; others are not touched."""
    declare(**{entry: model})
    settings = Settings.load(home=tmp_path, models="movies")
    object.__setattr__(settings, "model_names", (entry, "movies"))
    with pytest.raises(registry.ContractError) as wrong:
        registry.get_model(settings, entry)
    assert str(wrong.value).startswith(f"the model {entry!r}: ")
    assert problem in str(wrong.value)
    assert registry.get_model(settings, "movies").name == "movies"


def test_two_models_cannot_declare_the_same_setting(declare, tmp_path) -> None:
    """Both are named; each alone is fine."""
    declare(weather=variant(settings=Clashing))
    with pytest.raises(SettingsError, match="movies and weather both declare the setting movies_source"):
        Settings.load(home=tmp_path)
    assert Settings.load(home=tmp_path, models="weather").model_names == ("weather",)


def test_models_may_share_one_settings_class(declare, tmp_path) -> None:
    """Two instances of one model: its fields are there once."""
    declare(weather=variant(settings=OwnSettings), climate=variant(name="climate", settings=OwnSettings))
    settings = Settings.load(home=tmp_path)
    assert settings.model_names == ("accidents", "climate", "movies", "weather")
    assert list(type(settings).groups()).count("Weather model") == 1


def test_a_required_model_must_be_selected(declare, tmp_path) -> None:
    """The message names both and the setting that selects both."""
    declare(weather=variant(requires=("movies",)))
    assert Settings.load(home=tmp_path, models="weather,movies").model_names == ("weather", "movies")
    message = "'weather' requires movies, which ACCIDENT_RECO_MODELS does not select; fix: .*=movies,weather"
    with pytest.raises(SettingsError, match=message):
        Settings.load(home=tmp_path, models="weather")


def test_a_model_that_cannot_be_loaded_is_a_wrong_setting(declare, tmp_path, monkeypatch) -> None:
    """No settings class, or no such module: a start ends with one message that names the model, without traceback."""
    declare(weather=object())
    with pytest.raises(SettingsError, match="the model 'weather': its `settings` must be a subclass of"):
        Settings.load(home=tmp_path)
    declare()
    broken = EntryPoint("weather", "no_such_package.model:MODEL", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [broken])
    for function in CACHED:
        function.cache_clear()
    with pytest.raises(
        SettingsError, match=r"'weather' cannot be imported from no_such_package\.model:MODEL: No module"
    ):
        Settings.load(home=tmp_path)
