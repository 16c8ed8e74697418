import json

import numpy as np
import pytest

from rockstar_cli.explain import places
from tests.command_line import invoke
from tests.unit.clients.http_server import Server, answer, running


def heatmap(**masses: float) -> list[list[float]]:
    grid = np.zeros((20, 28))
    corners = {"top_left": (0, 0), "centre": (10, 14), "bottom": (19, 14), "right": (10, 27)}
    for where, mass in masses.items():
        grid[corners[where]] = mass
    return grid.tolist()


def test_one_place_with_most_of_the_evidence():
    assert places(heatmap(top_left=3.0, centre=1.0)) == [{"where": "top left", "share": 0.75}]


def test_several_places_strongest_first():
    found = places(heatmap(top_left=2.0, centre=2.5, bottom=2.0, right=3.0))
    assert [place["where"] for place in found] == ["right", "center"]
    assert sum(place["share"] for place in found) == pytest.approx(5.5 / 9.5)


def test_negative_evidence_does_not_count():
    assert places(heatmap(top_left=-9.0, bottom=1.0)) == [{"where": "bottom", "share": 1.0}]


def test_no_evidence():
    assert places(heatmap(centre=-1.0)) == []


def test_an_image_of_one_pixel():
    assert places([[0.5]]) == [{"where": "top left", "share": 1.0}]


def test_a_column_without_a_value_is_shown_as_missing(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("age,cabin\n,C85\n")
    column = {"name": "age", "value": None, "replaced_by": 30.0, "effect": 0.25}
    explained = {"model": "toy", "version": 1, "value": 2.0, "method": "replacement"}
    body = json.dumps(explained | {"columns": [column]}).encode()
    found = answer("200 OK", body, Content_Type="application/json")
    with running(Server([found])) as server:
        result = invoke("explain", "--model", "toy", "--url", server.url, rows)
    assert result.stdout == f"{rows}:1  2  age missing (+0.25)\n", result.output
