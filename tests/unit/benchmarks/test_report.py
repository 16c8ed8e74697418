"""The report names all measurements, and those that are missing."""

from benchmarks.serving.report import markdown
from benchmarks.serving.results import Summary
from tests.unit.benchmarks.made_results import cell, results, start


def test_tables_have_medians_spread_and_ratios():
    rates = {"rockstar": (900, 1000, 1100), "fastapi": (400, 500, 600)}
    cells = [
        cell(system, rate, run=number)
        for system, each in rates.items()
        for number, rate in enumerate(each)
    ]
    text = markdown(Summary(results(cells, [start("rockstar", 1.25)])))
    assert "| bare FastAPI | 500 (400–600) | 0.50 | 10.0 | 20.0 | 1.000 | 0 | 0 |" in text
    assert "| **RockstarTF** | 1,000 (900–1,100) | 1.00 |" in text
    assert "… to bare FastAPI's | ≥ 2.00 × | 2.00 × | reached |" in text


def test_systems_at_equal_work_have_their_own_tables():
    cells = [cell(name, 10) for name in ("rockstar", "mosec", "mosec-equal")]
    documented, equal = markdown(Summary(results(cells))).split("## Equal work")
    assert "| mosec |" in documented
    assert "mosec, equal work" not in documented
    assert "| mosec, equal work |" in equal.partition("## Start")[0]
    assert "| mosec |" not in equal.partition("## Start")[0]


def test_every_table_has_as_many_cells_as_heads():
    cells = [
        cell(system, 10, connections=connections, workload=workload, workers=workers, engine=engine)
        for system in ("rockstar", "ray")
        for connections, workload in ((1, "png"), (16, "png"), (16, "json"), (512, "png"))
        for workers in (1, 2)
        for engine in ("litert", "tensorflow")
    ]
    text = markdown(Summary(results(cells, [start("rockstar", 1.0)])))
    for table in text.split("\n\n"):
        widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
        assert len(widths) <= 1, table
