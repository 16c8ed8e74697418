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


@pytest.mark.parametrize(
    ("grid", "shares"),
    [
        (heatmap(top_left=3.0, centre=1.0), {"top left": 0.75}),
        (
            heatmap(top_left=2.0, centre=2.5, bottom=2.0, right=3.0),
            {"right": 3 / 9.5, "center": 2.5 / 9.5},
        ),
        (heatmap(top_left=-9.0, bottom=1.0), {"bottom": 1.0}),
        (heatmap(centre=-1.0), {}),
        ([[0.5]], {"top left": 1.0}),
    ],
)
def test_places_with_most_of_the_evidence_strongest_first(grid, shares):
    found = {place["where"]: place["share"] for place in places(grid)}
    assert list(found) == list(shares)
    assert found == pytest.approx(shares)


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
