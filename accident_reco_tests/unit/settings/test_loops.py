"""Models declared in files: what is read, and what is rejected with the file's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from accident_reco import registry
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.settings import Settings, SettingsError, environment, plugins
from accident_reco.settings.loops import DeclarationError, declarations, read_declarations

Declare = Callable[..., Path]


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Declare]:
    """Writes a file of a folder that `ACCIDENT_RECO_LOOPS` names."""
    monkeypatch.setenv("ACCIDENT_RECO_LOOPS", str(tmp_path / "loops"))

    def write(folder: str, attributes: str, component: str = "accident_reco.ModelLoop") -> Path:
        file = tmp_path / "loops" / folder / "defs.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"type: {component}\nattributes: {attributes}\n")
        _forget()
        return file

    yield write
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    for function in (plugins.installed_names, plugins.load_model, environment.combine, registry._load):
        function.cache_clear()


def test_an_instance_has_its_name_and_its_settings(declare: Declare, tmp_path: Path) -> None:
    """By default the folder's name; the others keep the installation's settings."""
    declare("accidents_full", "{model: accidents, settings: {accidents_feature_set: full, accidents_floor: 0.6}}")
    settings = Settings.load(home=tmp_path, accidents_feature_set="call")
    assert settings.model_names == ("accidents", "accidents_full", "movies")
    model = registry.get_model(settings, "accidents_full")
    assert (model.name, model.requires) == ("accidents_full", ("accidents",))
    own = model.own_settings(settings).of(AccidentSettings)
    assert (own.accidents_feature_set, own.accidents_floor) == ("full", 0.6)
    assert model.training().gate_policy(settings).floor == 0.6
    assert settings.of(AccidentSettings).accidents_feature_set == "call"


def test_settings_under_the_models_own_name_are_the_installations(declare: Declare, tmp_path: Path) -> None:
    """A file beside the packaged declaration cannot repeat the name: it says so."""
    file = declare("again", "{model: accidents, name: accidents}")
    with pytest.raises(SettingsError, match=f"{file}: .*loops/accidents/defs.yaml declares accidents too"):
        Settings.load(home=tmp_path)


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        (
            "{model: accidents, settings: {accidents_feature_set: ful}}",
            "accidents_feature_set = 'ful': Input",
        ),
        ("{model: accidents, settings: {accidents_floors: 1}}", "accidents_floors is no setting of accidents"),
        ("{model: accidents, settings: {predict_port: 1}}", "predict_port is no setting of accidents"),
        (
            "{model: accidents, settings: {accidents_source: official}}",
            "a setting of the data",
        ),
        ("{model: movies}", "movies has one instance only; its name is movies"),
        ("{name: second}", "`model` and `name` must be text"),
        ("{model: [a]}", "`model` and `name` must be text"),
        ("{model: {a", "while parsing"),
        ("{model: 'no_such_package.model:MODEL'}", "cannot be imported"),
    ],
)
def test_a_wrong_declaration_is_named(declare: Declare, tmp_path: Path, attributes: str, problem: str) -> None:
    """Every process of the platform stops at its start with the file and the rule."""
    file = declare("second", attributes)
    with pytest.raises(SettingsError) as wrong:
        Settings.load(home=tmp_path)
    assert problem in str(wrong.value)
    assert str(file) in str(wrong.value) or "second" in str(wrong.value)


def test_other_components_and_folders(declare: Declare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may hold components of other types; several documents may be in one file; the folder must exist."""
    declare("other", "{}", component="dagster.DefinitionsComponent")
    assert set(declarations()) == {"accidents", "movies"}
    file = tmp_path / "two.yaml"
    one = "type: accident_reco.ModelLoop\nattributes: {model: accidents, name: %s}\n"
    file.write_text(one % "a" + "---\n" + one % "b")
    assert [declared.name for declared in read_declarations(file)] == ["a", "b"]
    monkeypatch.setenv("ACCIDENT_RECO_LOOPS", str(tmp_path / "absent"))
    with pytest.raises(DeclarationError, match="there is no folder"):
        declarations()
