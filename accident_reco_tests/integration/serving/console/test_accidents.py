"""The accident model's pages in the browser: scene builder, comparison, files, outcomes; with and without scripts."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.accidents.serving.console.france_map import place
from accident_reco.models.accidents.serving.console.scene import EXAMPLE, Scene, SceneUser, decode, encode
from accident_reco.storage import prediction_log
from accident_reco_tests.support.console import USER, ConsolePlatform, running_console
from accident_reco_tests.support.live import wait_for

MARKUP = "<img src=x onerror=alert(1)>"


def read_scene(page: Any) -> Scene:
    """The scene in the page's address."""
    found = decode(httpx.URL(page.url).params["scene"])
    assert found is not None
    return found


def get_figures(page: Any) -> list[str]:
    """The probabilities that the page shows: of anyone, then of each road user."""
    return [text.strip() for text in page.locator("#answer .figure").all_inner_texts()]


def test_the_answer_follows_the_form(platform: ConsolePlatform, browser: Any) -> None:
    """A change is answered without loading the page; the address holds the scene; what is known stands apart."""
    with platform.person(browser, USER) as page:
        page.goto(f"{platform.url}/m/accidents")
        before = get_figures(page)
        assert len(before) == 3
        assert page.locator("h4", has_text="What is missing").count() == 2
        page.evaluate("window.stayed = true")
        page.select_option("[id='f-u.0.catu']", "3")
        page.wait_for_url("**scene=**")
        page.wait_for_function(
            "before => document.querySelectorAll('#answer .figure')[1].textContent !== before", arg=before[1]
        )
        assert page.evaluate("window.stayed")
        assert read_scene(page).users[0].values["catu"] == "3"
        shown = get_figures(page)
        page.reload()
        assert get_figures(page) == shown
        assert page.locator("[id='f-u.0.catu']").input_value() == "3"
        platform.check_page(page)


@pytest.mark.parametrize("javascript", [True, False])
def test_cards_and_the_map(platform: ConsolePlatform, browser: Any, javascript: bool) -> None:
    """Vehicles and road users come and go; a click on the map sets the place, in a browser without scripts too."""
    with platform.person(browser, USER, javascript=javascript) as page:
        page.goto(f"{platform.url}/m/accidents")
        page.click("text=Add a vehicle with its driver")
        assert page.locator("fieldset[id^='v-']").count() == 3
        page.click("text=Add a pedestrian")
        assert read_scene(page).users[-1] == SceneUser("A", {"catu": "3", "place": "10"})
        page.click("#v-A button")
        assert [vehicle.id for vehicle in read_scene(page).vehicles] == ["B", "C"]
        assert [user.vehicle for user in read_scene(page).users] == ["B", "C", ""]
        box = page.locator(".map input").bounding_box()
        assert box is not None
        page.click(".map input", position={"x": box["width"] / 2, "y": box["height"] * 0.42})
        page.wait_for_selector(".map .mark")
        page.wait_for_url("**scene=**")
        page.wait_for_function("() => document.getElementById('f-a.lat').value !== ''") if javascript else None
        lat, long = (float(page.locator(f"[id='f-a.{name}']").input_value()) for name in ("lat", "long"))
        assert 45.5 < lat < 48
        assert 1 < long < 3.5
        page.click("text=Clear the place")
        assert page.locator(".map .mark").count() == 0
        page.click("text=Start empty")
        assert "Nobody is involved yet" in page.inner_text("#answer")


def test_a_place_near_a_commune_has_its_codes(platform: ConsolePlatform) -> None:
    """Department and commune come from the champion's data; a click beside the map changes nothing."""
    with platform.log_in(USER) as client:
        token = client.get("/m/accidents").text.split('name="csrf" value="')[1][:64]
        headers = {"HX-Request": "true", "X-CSRF-Token": token}
        predict = platform.clients["predict"]
        (first, *_) = predict.get("/accidents/departments", headers=platform.headers()).json()["departments"]
        place_of = {name: first[name] for name in ("lat", "long")}
        found = predict.get("/accidents/nearest-commune", params=place_of, headers=platform.headers()).json()
        point = place(**place_of)
        assert point is not None
        near = client.post("/m/accidents/place", data={"at.x": point[0], "at.y": point[1]}, headers=headers)
        assert near.headers["hx-trigger-after-settle"] == "placed"
        assert f"Nearest commune in the data: <strong>{found['com']}</strong>" in near.text
        assert f'value="{found["dep"]}" selected' in near.text
        beside = client.post("/m/accidents/place", data={"at.x": -5, "at.y": 3, "a.dep": "59"}, headers=headers)
        assert "This point is not on the map" in beside.text
        assert 'value="59" selected' in beside.text


def test_two_scenes_side_by_side(platform: ConsolePlatform, browser: Any) -> None:
    """In French: the differences by their names, the change of each probability, one link for both."""
    with platform.person(browser, USER, locale="fr-FR") as page:
        page.goto(f"{platform.url}/m/accidents")
        assert page.locator("html").get_attribute("lang") == "fr"
        page.click("text=Comparer à une copie")
        assert "Les scènes sont égales" in page.inner_text("#comparison")
        page.fill("[id='f-a.vma']", "50")
        page.wait_for_selector("#comparison >> text=50 km/h")
        rows = page.locator("#comparison tbody").nth(1).locator("tr")
        assert rows.all_inner_texts() == ["Accident: Vitesse maximale autorisée\t80 km/h\t50 km/h"]
        assert page.locator("#comparison tbody").nth(0).locator("tr").count() == 3
        platform.check_page(page)
        page.reload()
        assert "50 km/h" in page.inner_text("#comparison")
        page.click("text=Modifier plutôt la scène 1")
        assert read_scene(page) == EXAMPLE
        page.click("text=Terminer la comparaison")
        assert page.locator("#comparison").count() == 0
        page.click("text=English")
        assert page.inner_text("h1") == "Severity of an accident"


def test_only_by_keyboard(platform: ConsolePlatform, browser: Any) -> None:
    """From the first field to the answer, with a place by its department and an error that is corrected."""
    with platform.person(browser, USER, viewport={"width": 390, "height": 844}) as page:
        page.goto(f"{platform.url}/m/accidents")
        page.focus("[id='f-a.dep']")
        page.keyboard.press("5")
        page.keyboard.press("9")
        page.wait_for_url("**scene=**")
        assert read_scene(page).accident["dep"] == "59"
        page.focus("[id='f-u.1.an_nais']")
        page.keyboard.press("Control+A")
        page.keyboard.type("1700")
        page.wait_for_selector("#answer [role=alert]")
        assert "Year of birth: 1885 to 2099" in page.inner_text("#answer")
        page.keyboard.press("Enter")
        page.wait_for_selector("[id='e-u.1.an_nais']")
        assert page.locator("[id='f-u.1.an_nais']").get_attribute("aria-invalid") == "true"
        platform.check_page(page)
        page.focus("#answer a[href^='#f-']")
        page.keyboard.press("Enter")
        page.keyboard.press("Control+A")
        page.keyboard.type("2001")
        page.wait_for_function("() => !document.querySelector('#answer [role=alert]')")
        # The map is reached, and does nothing, by keyboard.
        page.focus(".map input")
        page.keyboard.press("Enter")
        page.wait_for_load_state()
        assert page.locator(".map .mark").count() == 0


def test_markup_stays_text(platform: ConsolePlatform, browser: Any) -> None:
    """In a field, in the comparison, in a file, its name and its notes."""
    scene = Scene({"com": MARKUP, "dep": MARKUP}, (), (SceneUser("", {"catu": "1", "an_nais": MARKUP}),))
    data = f'Num_Acc;catu;dep;lat;long;secu1\n"{MARKUP}";3;"{MARKUP}";46;2;{MARKUP}\n'.encode()
    with platform.person(browser, USER) as page:
        page.goto(f"{platform.url}/m/accidents?scene={encode(scene)}&other={encode(EXAMPLE)}")
        assert MARKUP in page.inner_text("#comparison")
        assert page.locator("[id='f-a.com']").input_value() == MARKUP
        page.goto(f"{platform.url}/m/accidents/file")
        page.set_input_files("#f-file", {"name": f"{MARKUP}.csv", "mimeType": "text/csv", "buffer": data})
        page.click("text=Score and show a summary")
        page.wait_for_selector("#result table")
        assert MARKUP in page.inner_text("#result")
        page.set_input_files("#f-file", {"name": f"usagers {MARKUP}.csv", "mimeType": "text/csv", "buffer": data})
        page.click("text=Only look at what is in it")
        page.wait_for_selector("#result h2")
        assert page.locator("img[src=x]").count() == 0


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The four files of a year."""
    folder = tmp_path_factory.mktemp("year")
    for file in sample_year(2023, 300).values():
        (folder / file.name).write_bytes(file.data)
    return sorted(folder.iterdir())


def test_files_with_a_script(platform: ConsolePlatform, browser: Any, year: list[Path]) -> None:
    """The four files of a year: one upload, its summary, and the result as Parquet; then what is in them."""
    people = len(next(path for path in year if "usagers" in path.name).read_bytes().splitlines()) - 1
    with platform.person(browser, USER) as page:
        page.goto(f"{platform.url}/m/accidents/file")
        page.set_input_files("#f-file", year)
        page.check("[name=form][value=parquet]")
        page.click("text=Score and show a summary")
        page.wait_for_selector("#result table")
        assert f"{people} with a probability" in page.inner_text("#result")
        assert page.locator("#result .map circle").count() > 5
        platform.check_page(page)
        with page.expect_download() as saved:
            page.click("#download")
        assert saved.value.suggested_filename == "scored.parquet"
        assert pq.read_table(saved.value.path()).num_rows == people
        page.set_input_files("#f-file", year)
        page.click("text=Only look at what is in it")
        page.wait_for_selector("#result h2")
        assert "usagers of 2023" in page.inner_text("#result")
        platform.check_page(page)


def test_files_without_a_script(platform: ConsolePlatform, browser: Any, year: list[Path]) -> None:
    """A button for the summary and one for each form of the result; a file that cannot be scored is a problem."""
    with platform.person(browser, USER, javascript=False) as page:
        page.goto(f"{platform.url}/m/accidents/file")
        page.set_input_files("#f-file", year)
        page.click("text=Score and show a summary")
        assert "with a probability" in page.inner_text("#result")
        page.set_input_files("#f-file", {"name": "a.csv", "mimeType": "text/csv", "buffer": b"catu\n1\n3\n"})
        with page.expect_download() as saved:
            page.click("text=Score and download (CSV)")
        rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text()), delimiter=";"))
        assert [row["line"] for row in rows] == ["2", "3"]
        page.set_input_files("#f-file", {"name": "a.csv", "mimeType": "text/csv", "buffer": b"nothing\n1\n"})
        page.click("text=Score and show a summary")
        assert page.locator("#result [role=alert]").count() == 1


def test_outcomes(platform: ConsolePlatform, browser: Any) -> None:
    """Straight from an answer, and by the id of the prediction; a contradiction and an unknown id are problems."""
    with platform.person(browser, USER) as page:
        page.goto(f"{platform.url}/m/accidents")
        prediction = page.locator("#answer [name=prediction_id]").first.get_attribute("value")
        wait_for(lambda: prediction_log.prediction(platform.warehouse, prediction) is not None)
        page.locator("#answer .outcome summary").first.click()
        page.locator("#answer .outcome select").first.select_option("3")
        page.locator("#answer .outcome button").first.click()
        page.wait_for_selector("#answer .outcome .alert.good")
        page.goto(f"{platform.url}/m/accidents/outcome?prediction_id={prediction}")
        platform.check_page(page)
        page.select_option("#f-severity", "3")
        page.click("main button:has-text('Report')")
        assert "reported before" in page.inner_text("main [role=status]")
        page.fill("#f-prediction_id", str(prediction))
        page.select_option("#f-severity", "1")
        page.click("main button:has-text('Report')")
        assert "Another outcome was reported" in page.inner_text("main [role=alert]")
        assert page.locator("#f-severity").input_value() == "1"
        page.fill("#f-prediction_id", "nothing-0")
        page.click("main button:has-text('Report')")
        assert "no such prediction" in page.inner_text("main [role=alert]")


def test_links_that_hold_no_scene(platform: ConsolePlatform) -> None:
    """An example with a note instead of an error; pages of a year of people stay small."""
    with platform.log_in(USER) as client:
        page = client.get("/m/accidents", params={"scene": "nonsense", "other": "nonsense"})
        assert page.status_code == 200
        assert "This link holds no scene" in page.text
        large = Scene({}, (), tuple(SceneUser("", {"catu": "1"}) for _ in range(10)))
        assert len(client.get("/m/accidents", params={"scene": encode(large)}).content) < 150_000


def test_without_a_champion(tmp_path: Path) -> None:
    """The form stands, and the answer has the reason and the next step."""
    with running_console(tmp_path, champions=False) as platform, platform.log_in(USER) as client:
        page = client.get("/m/accidents")
        assert page.status_code == 503
        assert "No accidents model serves" in page.text
        assert "Start a training on the page Models" in page.text
        assert 'name="v.A.catv"' in page.text
