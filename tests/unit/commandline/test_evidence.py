import numpy as np
import pytest

from rockstar_cli.explain import Place, places


def heatmap(**masses: float) -> list[list[float]]:
    grid = np.zeros((20, 28))
    corners = {"top_left": (0, 0), "centre": (10, 14), "bottom": (19, 14), "right": (10, 27)}
    for where, mass in masses.items():
        grid[corners[where]] = mass
    return grid.tolist()


def test_one_place_that_holds_it():
    assert places(heatmap(top_left=3.0, centre=1.0)) == [Place("top left", 0.75)]


def test_as_many_places_as_it_takes_the_strongest_first():
    found = places(heatmap(top_left=2.0, centre=2.5, bottom=2.0, right=3.0))
    assert [place.where for place in found] == ["right", "centre"]
    assert sum(place.share for place in found) == pytest.approx(5.5 / 9.5)


def test_what_speaks_against_it_does_not_count():
    assert places(heatmap(top_left=-9.0, bottom=1.0)) == [Place("bottom", 1.0)]


def test_nothing_spoke_for_it():
    assert places(heatmap(centre=-1.0)) == []


def test_a_picture_of_one_pixel():
    assert places([[0.5]]) == [Place("top left", 1.0)]
