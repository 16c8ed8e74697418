import shutil

import numpy as np
import pytest

from rockstar_client.backend import Query, TensorResponse
from rockstar_client.errors import InvalidRequestError, NotFoundError, UnavailableError, call_error
from rockstar_serving.gateway.in_process import InProcessBackend, LiteRTLoader
from rockstar_serving.gateway.state import ServedModels
from rockstar_serving.model_server.deadline import WouldBlockError
from rockstar_serving.model_server.loading import VersionLoader
from tests.litert_models import rewritten
from tests.model_fixtures import SIDE, document, probabilities, toy_model, write_version
from tests.unit.gateway.conftest import FakeServer
from tests.waiting import until
from tfs_api.status import Code

IMAGES = np.random.default_rng(0).random((3, SIDE, SIDE, 1), dtype=np.float32)


class Elsewhere(FakeServer):
    """A model server that records its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple] = []

    def predict(self, query):
        self.asked.append((query.model, query.version, query.label))
        return TensorResponse({}, 9)


@pytest.fixture
def folder(tmp_path):
    write_version(tmp_path / "toy", 1)
    return tmp_path / "toy"


@pytest.fixture
def server():
    return Elsewhere()


@pytest.fixture
def start(folder, server, tmp_path):
    started: list[InProcessBackend] = []

    def start(labels: str = "", before=lambda load, config: None) -> InProcessBackend:
        config = tmp_path / "models.config"
        config.write_text(
            "model_config_list { config { "
            f'name: "toy" base_path: "{folder}" model_platform: "tensorflow" {labels} '
            "model_version_policy { latest { num_versions: 2 } } } }"
        )
        load = LiteRTLoader(1)
        before(load, config)
        started.append(InProcessBackend(server, config, load, ServedModels(["toy"])))
        return started[-1]

    yield start
    for backend in started:
        backend.close()


def test_models_with_a_litert_file_run_in_process(start, server):
    answer = start().predict(Query("toy", {"image": IMAGES}, timeout=10))
    np.testing.assert_allclose(
        answer.outputs["probabilities"], probabilities(IMAGES), rtol=1e-5, atol=1e-6
    )
    assert answer.version == 1
    assert server.asked == []


def test_predict_now_runs_only_what_is_loaded_here(start, server):
    backend = start()
    here = Query("toy", {"image": IMAGES})
    backend.predict(here)
    assert backend.predict_now(here).version == 1
    for other in (Query("toy", {"image": IMAGES}, version=7), Query("other", {"image": IMAGES})):
        with pytest.raises(WouldBlockError):
            backend.predict_now(other)
    assert server.asked == []


def test_a_new_version_is_taken_up(start, folder):
    backend = start()
    write_version(folder, 2)
    until(lambda: backend.predict(Query("toy", {"image": IMAGES})).version == 2, what="version 2")
    assert backend.predict(Query("toy", {"image": IMAGES}, version=1)).version == 1


def test_a_swapped_link_is_followed_and_its_old_target_may_be_removed(start, folder):
    """Swap a link by one rename, like `current`, git-sync and Kubernetes' `..data`."""
    folder.rename(folder.with_name("revision-1"))
    write_version(folder.with_name("revision-2"), 2)
    folder.symlink_to("revision-1")
    backend = start()
    assert backend.predict(Query("toy", {"image": IMAGES})).version == 1
    folder.with_name("next").symlink_to("revision-2")
    folder.with_name("next").replace(folder)
    shutil.rmtree(folder.with_name("revision-1"))
    until(lambda: backend.predict(Query("toy", {"image": IMAGES})).version == 2, what="version 2")


def test_signatures_are_of_the_version_that_runs(start, server, folder):
    """The model server may have another one while versions change."""
    backend = start()
    write_version(folder, 2)
    until(lambda: backend.metadata(Query("toy")).version == 2, what="version 2")
    old = backend.metadata(Query("toy", version=1))
    assert (old.version, "serving_default" in old.signatures) == (1, True)
    assert server.metadata_reads == 0
    with pytest.raises(NotFoundError):
        backend.metadata(Query("toy", version=7))


def test_versions_loaded_before_the_fork_are_not_loaded_again(start, folder, monkeypatch):
    load, loaded = VersionLoader.__call__, []

    def spy(loader, servable_id, folder):
        loaded.append(str(servable_id))
        return load(loader, servable_id, folder)

    def preload_and_reload(load, config):
        load.preload(config)
        write_version(folder, 2)
        load.preload(config)

    monkeypatch.setattr(VersionLoader, "__call__", spy)
    backend = start(before=preload_and_reload)
    assert backend.predict(Query("toy", {"image": IMAGES})).version == 2
    assert len(loaded) == 2


def test_versions_that_changed_since_the_fork_are_loaded_again(start, folder):
    def preload(load, config):
        load.preload(config)
        shutil.rmtree(folder / "1")
        write_version(folder, 1, toy_model(5))

    query = {"query": np.zeros(1, np.int32)}
    answer = start(before=preload).predict(Query("toy", query, signature="contract"))
    assert answer.outputs["contract"].tolist() == [document(5).encode()]


def test_states_are_known_while_the_model_server_is_away(start, server):
    backend = start()
    server.failure = call_error(Code.UNAVAILABLE, "away")
    (state,) = backend.status(Query("toy"))
    assert (state.version, state.state, state.error) == (1, "AVAILABLE", "")
    with pytest.raises(UnavailableError):
        backend.status(Query("other"))


def test_a_version_by_its_label(start, folder):
    write_version(folder, 2)
    backend = start('version_labels { key: "stable" value: 1 }')
    assert backend.predict(Query("toy", {"image": IMAGES}, label="stable")).version == 1


@pytest.mark.parametrize(
    ("model", "version", "label"), [("other", None, None), ("toy", 7, None), ("toy", None, "none")]
)
def test_other_models_go_to_the_model_server(start, server, model, version, label):
    start().predict(Query(model, {"image": IMAGES}, version=version, label=label))
    assert server.asked == [(model, version, label)]


def with_an_op_of_tensorflow(model):
    model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = 32
    model.operatorCodes[0].customCode = "FlexReshape"


@pytest.mark.parametrize("litert", [None, with_an_op_of_tensorflow])
def test_the_newest_version_is_the_newest_even_where_only_the_model_server_can_run_it(
    start, server, folder, litert
):
    backend = start()
    aside = folder.parent / "2"
    aside.mkdir()
    (aside / "saved_model.pb").write_bytes(b"of TensorFlow")
    if litert:
        (aside / "model.tflite").write_bytes(rewritten(toy_model(2), litert))
    aside.rename(folder / "2")

    def asked():
        backend.predict(Query("toy", {"image": IMAGES}))
        return server.asked

    until(asked, what="a call of the model server")
    assert backend.predict(Query("toy", {"image": IMAGES}, version=1)).version == 1
    assert {version for _, version, _ in server.asked} == {None}


def test_a_damaged_version_is_not_used(start, server, folder):
    backend = start()
    shutil.copytree(folder / "1", folder.parent / "2")
    damaged = folder.parent / "2" / "model.tflite"
    damaged.write_bytes(damaged.read_bytes()[:100])
    (folder.parent / "2").rename(folder / "2")
    (folder.parent / "4").mkdir()
    (folder.parent / "4" / "model.tflite").symlink_to("/dev/zero")
    (folder.parent / "4").rename(folder / "4")
    write_version(folder, 3)
    until(lambda: backend.predict(Query("toy", {"image": IMAGES})).version == 3, what="version 3")
    assert server.asked == []


def test_models_that_do_not_load_go_to_the_model_server(start, server, folder, caplog):
    (folder / "1" / "model.tflite").write_bytes(b"damaged")
    start().predict(Query("toy", {"image": IMAGES}))
    assert server.asked == [("toy", None, None)]
    assert "no model runs in this process: " in caplog.text


def test_inputs_that_a_model_rejects_are_bad_requests(start, server):
    with pytest.raises(InvalidRequestError, match=r"'image': expected float32"):
        start().predict(Query("toy", {"image": IMAGES.astype(np.float64)}))
    assert server.asked == []


def test_the_contract_is_of_the_version_that_runs(start, folder, trained_models):
    shutil.rmtree(folder)
    shutil.copytree(trained_models.workdir / "models" / "logistic", folder)
    contract = start().contract(Query("toy"))
    assert (contract.model, contract.version) == ("logistic", 1)


def test_an_unknown_model_gets_the_error_of_the_model_server(start):
    with pytest.raises(NotFoundError, match="Servable not found"):
        start().contract(Query("other"))
