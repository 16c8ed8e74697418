import base64
import dataclasses
import errno
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from rockstar_contract.activations import NEIGHBORS_FILE, find_neighbors
from rockstar_contract.manifest import write_manifest
from tests.contracts import LABELS
from tests.images import png
from tests.model_fixtures import edge_model
from tests.table_models import table_classifier
from tests.unit.gateway.conftest import IMAGE, LIMITED, FakeServer, post

PATH = "/page/models/toy"


@pytest.fixture
def server():
    return FakeServer(table=table_classifier())


def pixels(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


@pytest.fixture
def version(tmp_path):
    """A published version in a working directory, with its report."""
    folder = tmp_path / "models" / "toy" / "1"
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "edge.tflite").write_bytes(edge_model())
    (folder / "assets.extra/model_card.md").write_text("# toy ½\n")
    images = np.random.default_rng(0).random((8, 8, 8, 1), dtype=np.float32)
    similar = find_neighbors(edge_model(), lambda rows: images[rows], np.arange(8) % 4, (0, 1))
    (folder / NEIGHBORS_FILE).write_bytes(similar.to_bytes())
    write_manifest(folder)
    report = tmp_path / "runs/toy-1/report.html"
    report.parent.mkdir(parents=True)
    report.write_text("<title>toy</title>")
    return folder


@pytest.fixture
def beside(version, server, create_gateway, tmp_path):
    """A gateway that reads the version's folder."""
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "toy" base_path: "{version.parent}" '
        'model_platform: "tensorflow" } }'
    )
    settings = dataclasses.replace(LIMITED, models_config=str(config))
    return create_gateway(settings, server).test_client()


def test_the_prepared_image_its_layers_and_similar_examples(beside):
    answer = post(beside, f"{PATH}/inspect").get_json()
    assert answer["version"] == 1
    assert pixels(answer["input"]["image"]).shape == (8, 8)
    assert pixels(answer["input"]["image"]).max() == 255
    assert [(layer["name"], layer["shape"]) for layer in answer["layers"]] == [
        ("relu_1", [8, 8, 2]),
        ("flat", [128]),
    ]
    # Two maps side by side with a line between them; the first is the image itself.
    maps = pixels(answer["layers"][0]["image"])
    assert maps.shape == (8, 17)
    np.testing.assert_allclose(maps[:, :8], pixels(answer["input"]["image"]), atol=1)
    assert len(answer["nearest"]) == 5
    assert {each["label"] for each in answer["nearest"]} <= set(LABELS)


def test_what_there_is_to_see(beside, http):
    found = {"layers": True, "card": True, "report": True}
    assert beside.get(PATH).get_json() == {"model": "toy", "version": 1, **found}
    nothing = dict.fromkeys(found, False)
    assert http.get(PATH).get_json() == {"model": "toy", "version": 1, **nothing}


def test_a_gateway_without_the_folder_shows_the_prepared_image(http):
    answer = post(http, f"{PATH}/inspect").get_json()
    assert pixels(answer["input"]["image"]).shape == (8, 8)
    assert answer["layers"] == answer["nearest"] == []


@pytest.mark.parametrize("name", ["edge.tflite", str(NEIGHBORS_FILE)])
def test_files_that_were_not_published_are_not_run(beside, version, name):
    (version / name).write_bytes(b"x" * (version / name).stat().st_size)
    answer = post(beside, f"{PATH}/inspect").get_json()
    assert answer["layers"] == answer["nearest"] == []


def test_an_older_version_has_no_similar_examples(beside, version):
    (version / NEIGHBORS_FILE).unlink()
    write_manifest(version)
    answer = post(beside, f"{PATH}/inspect").get_json()
    assert len(answer["layers"]) == 2
    assert answer["nearest"] == []


def test_the_card_and_the_report(beside, version):
    card = beside.get(f"{PATH}/card")
    assert (card.text, card.content_type) == ("# toy ½\n", "text/plain; charset=utf-8")
    report = beside.get(f"{PATH}/report")
    assert report.text == "<title>toy</title>"
    policy = report.headers["Content-Security-Policy"]
    assert "script-src" not in policy
    assert policy.startswith("default-src 'none'")
    assert policy.endswith("sandbox")
    (version.parents[2] / "runs/toy-1/report.html").unlink()
    assert beside.get(f"{PATH}/report").status_code == 404


def test_errors_are_problems(http):
    assert post(http, "/page/models/none/inspect").status_code == 404
    assert http.get("/page/models/none").status_code == 404
    table = post(http, "/page/models/table/inspect")
    assert (table.status_code, table.get_json()["field"]) == (400, "model")
    assert post(http, f"{PATH}/inspect", b"no image").status_code == 400
    assert http.get(f"{PATH}/card").status_code == 404


@pytest.fixture
def taught(create_gateway, server, tmp_path):
    """A gateway that keeps corrections in a folder."""
    limits = {"max_body_bytes": 2**23, "max_pixels": 2_000_000}
    config = dataclasses.replace(LIMITED, corrections=str(tmp_path / "corrections"), **limits)
    return create_gateway(config, server).test_client()


def test_corrections_are_kept_by_label(taught, tmp_path):
    answer = post(taught, f"{PATH}/corrections?label=two")
    assert answer.get_json() == {"label": "two", "corrections": 1}
    (path,) = (tmp_path / "corrections").rglob("*.*")
    assert path.parent.name == "two"
    sent, kept = (np.asarray(Image.open(file)) for file in (io.BytesIO(IMAGE), path))
    np.testing.assert_array_equal(kept, sent)
    # The same image again, with another label.
    assert post(taught, f"{PATH}/corrections?label=one").get_json()["corrections"] == 1
    (path,) = (tmp_path / "corrections").rglob("*.*")
    assert path.parent.name == "one"


def test_there_may_not_be_too_many_corrections(taught, tmp_path):
    folder = tmp_path / "corrections/two"
    folder.mkdir(parents=True)
    for number in range(2000):
        (folder / f"correction-{number}.png").touch()
    refused = post(taught, f"{PATH}/corrections?label=two")
    assert refused.status_code == 507
    assert "2,000 corrections already" in refused.get_json()["detail"]


def test_large_corrections_are_scaled_down(taught, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1300, 1300, 3), dtype=np.uint8)
    assert len(photo := png(noise)) > 5_000_000
    assert post(taught, f"{PATH}/corrections?label=two", photo).status_code == 200
    (path,) = (tmp_path / "corrections/two").iterdir()
    with Image.open(path) as kept:
        assert kept.size == (512, 512)
    assert path.stat().st_size < 800_000


def test_a_full_disk_leaves_nothing_behind(taught, tmp_path, monkeypatch):
    def full(self, content):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    failed = post(taught, f"{PATH}/corrections?label=two")
    assert (failed.status_code, failed.get_json()["detail"]) == (507, "The correction cannot be written; the log says why.")  # fmt: skip
    assert list((tmp_path / "corrections/two").iterdir()) == []


def test_two_pages_label_the_same_image_at_once(taught, tmp_path):
    labels = ["one", "two"] * 8
    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(lambda label: post(taught.application.test_client(), f"{PATH}/corrections?label={label}"), labels)]  # fmt: skip
    assert {answer.get_json()["corrections"] for answer in answers} == {1}
    assert len([*(tmp_path / "corrections").rglob("*.png")]) == 1


def test_bad_corrections_are_refused(taught, http, tmp_path):
    assert post(http, f"{PATH}/corrections?label=two").status_code == 404
    assert post(taught, f"{PATH}/corrections?label=nine").get_json()["field"] == "label"
    assert post(taught, f"{PATH}/corrections?label=../two").get_json()["field"] == "label"
    assert post(taught, f"{PATH}/corrections").get_json()["field"] == "label"
    assert post(taught, f"{PATH}/corrections?label=two", b"no image").status_code == 400
    foreign = post(taught, f"{PATH}/corrections?label=two", Sec_Fetch_Site="cross-site")
    assert foreign.status_code == 403
    assert not (tmp_path / "corrections").exists()
    (tmp_path / "corrections").write_text("a file")
    failed = post(taught, f"{PATH}/corrections?label=two")
    assert failed.status_code == 507
    assert str(tmp_path) not in failed.text


def test_a_key_sees_its_models_only(create_gateway):
    digest = hashlib.sha256(b"the key").hexdigest()
    settings = dataclasses.replace(LIMITED, api_keys=(f"alice:{digest}",))
    http = create_gateway(settings, FakeServer()).test_client()
    assert http.get(PATH).status_code == 401
    assert post(http, f"{PATH}/inspect", IMAGE).status_code == 401
    assert http.get(PATH, headers={"X-API-Key": "the key"}).status_code == 200
