"""API keys, rates, CORS, and headers of pages."""

import base64
import dataclasses
import hashlib
import logging
import tomllib

import pytest
from click.testing import CliRunner
from flask import Blueprint

from rockstar_cli.__main__ import cli
from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.api_keys import read_keys
from rockstar_serving.gateway.app import APIS, create_app
from rockstar_serving.gateway.authentication import PAGE_HEADERS
from rockstar_serving.gateway.settings import GatewayConfig, read_files
from rockstar_serving.options import SettingError
from tests.unit.gateway.conftest import IMAGE, post


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def basic(password: str) -> str:
    """As browsers send a key."""
    return f"Basic {base64.b64encode(f'anyone:{password}'.encode()).decode()}"


KEYS = f"""
[keys.alice]
sha256 = "{digest("key of alice")}"

[keys.bob]
sha256 = "{digest("key of bob").upper()}"
models = ["other"]
rate = "2/day"

[keys.prometheus]
sha256 = "{digest("key of prometheus")}"
models = []

[keys.eve]
sha256 = "{digest("key of eve")}"
expires = 2026-01-31
"""


@pytest.fixture
def keyed(config, server, notes, tmp_path, create_gateway):
    path = tmp_path / "keys.toml"
    path.write_text(KEYS)

    def keyed(apis=APIS, **settings):
        changed = dataclasses.replace(config, api_keys_file=str(path), **settings)
        return create_gateway(changed, server, observers=[notes], apis=apis).test_client()

    return keyed


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer key of alice"},
        {"Authorization": "bearer  key of alice "},
        {"X_API_Key": "key of alice"},
        {"Authorization": basic("key of alice")},
        # Of a proxy in front.
        {"Authorization": basic("password of the proxy"), "X_API_Key": "key of alice"},
    ],
)
def test_a_key_opens(keyed, notes, headers):
    assert post(keyed(), **headers).status_code == 200
    assert [context.caller for context, _ in notes.answers] == ["alice"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer key of mallory"},
        {"Authorization": "Basic key of alice"},
        {"X_API_Key": digest("key of alice")},
        {"X_API_Key": "§"},
        {"X_API_Key": "key of eve"},
        {"Authorization": "Bearer key of alice, Bearer key of mallory"},
        {"Authorization": f"Bearer {basic('key of alice')}"},
        {"Authorization": "Basic ==="},
        {"Authorization": basic("key of mallory")},
        {"Authorization": "Basic a2V5IG9mIGFsaWNl"},  # without a user name
        # Sent by a browser for a page of another site.
        {"Authorization": basic("key of alice"), "Sec_Fetch_Site": "cross-site"},
        {"Authorization": basic("key of alice"), "Sec_Fetch_Site": "same-site"},
        {"X_Forwarded_For": "127.0.0.1", "X_Original_URL": "/livez"},
    ],
)
def test_without_a_key_that_is_known_nothing_is_done(keyed, server, notes, headers):
    response = post(keyed(), **headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    problem = response.get_json()
    assert "Authorization: Bearer KEY" in problem["hint"]
    assert not server.batches
    assert notes.refusals == ["key"]


def test_only_probes_need_no_key(keyed):
    http = keyed()
    rules = {str(rule): rule for rule in APPLICATION.url_map.iter_rules()}
    answered = set()
    for path, rule in rules.items():
        for method in rule.methods:
            sent = path.replace("<model>", "toy").replace("<version>", "1").replace("<label>", "a")
            sent = sent.replace("<path:path>", "x").replace("<path:filename>", "page.js")
            with http.open(sent.replace("<name>", "swagger-ui.css"), method=method) as response:
                if response.status_code != 401:
                    answered.add((method, path))
    assert answered == {(m, path) for m in ("GET", "HEAD", "OPTIONS") for path in OPEN}


APPLICATION = create_app(GatewayConfig(models=("toy",)))
OPEN = ("/livez", "/readyz")


def test_browsers_ask_for_the_key_of_a_page(keyed):
    http = keyed()
    for path in ("/", "/docs", "/static/page.js"):
        refused = http.get(path)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic realm=")
        with http.get(path, headers={"Authorization": basic("key of alice")}) as response:
            assert response.status_code == 200


def test_names_of_models_are_for_those_who_may_use_them(keyed):
    http = keyed()

    def names(key: str) -> set[str]:
        headers = {"X-API-Key": key}
        ready = http.get("/readyz", headers=headers)
        assert ready.get_json()["status"] == "ready"
        listed = http.get("/v1/models", headers=headers).get_json().get("models", [])
        return set(ready.get_json()["models"]) | {each["model"] for each in listed}

    assert names("key of alice") == {"toy"}
    for key in ("key of bob", "key of prometheus", "key of eve", "key of mallory"):
        assert names(key) == set()
    assert "toy" not in http.get("/openapi.json", headers={"X-API-Key": "key of bob"}).text
    unknown = http.post("/predict/other", data=IMAGE, headers={"X-API-Key": "key of bob"})
    assert unknown.status_code in (404, 429)
    assert "toy" not in unknown.text


def test_a_key_for_some_models_does_not_read_the_metrics_of_all(keyed):
    http = keyed()
    for key, status in {"alice": 200, "prometheus": 200, "bob": 403}.items():
        headers = {"Authorization": f"Bearer key of {key}"}
        assert http.get("/metrics", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("key", "status", "says"),
    [
        ("", 401, "from 127.0.0.1, caller unknown: An API key is needed."),
        ("key of mallory", 401, "from 127.0.0.1, caller unknown: This API key is not known."),
        ("key of eve", 401, "caller eve: This API key expired on 2026-01-31."),
        ("key of bob", 403, "caller bob: This API key is not for the model toy."),
        ("key of alice", 429, "caller alice: This API key has no requests left for now."),
    ],
)
def test_each_rejection_is_one_line_in_the_log(keyed, caplog, key, status, says):
    http = keyed(rate_limit="1/day", access_log=False)
    if status == 429:
        post(http, X_API_Key=key)
    caplog.clear()
    headers = {"X_API_Key": key} if key else {}
    with caplog.at_level(logging.WARNING):
        response = post(http, path="/predict/toy?key=secret", X_Request_ID="an-id", **headers)
    assert response.status_code == status
    (record,) = caplog.records
    assert says in record.getMessage()
    assert record.getMessage().startswith("rejected POST /predict/toy from ")
    assert record.getMessage().endswith("(request an-id)")
    for secret in ("secret", key) if key else ():
        assert secret not in str(vars(record))


def test_a_key_is_good_for_so_many_requests(keyed, notes):
    http = keyed()
    bob = {"X-API-Key": "key of bob"}
    for _ in range(2):
        assert http.get("/v1/models", headers=bob).status_code == 200
    response = http.get("/v1/models", headers=bob)
    assert response.status_code == 429
    assert 0 < int(response.headers["Retry-After"]) <= 12 * 3600
    assert notes.refusals == ["rate"]
    # Other keys are not affected.
    assert post(http, X_API_Key="key of alice").status_code == 200


def test_the_default_rate(keyed):
    http = keyed(rate_limit="1/hour")
    for path in ("/", "/static/page.css", "/docs", "/metrics", "/v2/health/live") * 2:
        with http.get(path, headers={"X-API-Key": "key of alice"}) as response:
            assert response.status_code == 200
    assert post(http, X_API_Key="key of alice").status_code == 200
    assert post(http, X_API_Key="key of alice").status_code == 429


def test_keys_in_the_environment(config, server, create_gateway):
    words = (f"carol:{digest('key of carol')}",)
    http = create_gateway(dataclasses.replace(config, api_keys=words), server).test_client()
    assert post(http, X_API_Key="key of carol").status_code == 200
    assert post(http).status_code == 401


def test_a_new_key_and_its_entry_belong_together(config, server, tmp_path, create_gateway):
    done = CliRunner().invoke(cli, ["gateway", "--make-key", "dave"])
    _, key, _, entry, _, word = done.stdout.split("\n\n")
    assert word.strip() == f"dave:{digest(key)}"
    assert tomllib.loads(entry)["keys"]["dave"]["sha256"] == digest(key)
    path = tmp_path / "keys.toml"
    path.write_text(entry)
    http = create_gateway(
        dataclasses.replace(config, api_keys_file=str(path)), server
    ).test_client()
    assert post(http, X_API_Key=key).status_code == 200
    refused = CliRunner().invoke(cli, ["gateway", "--make-key", "d e"])
    assert refused.exit_code == 2
    assert "letters, digits" in refused.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[keys", "is not TOML"),
        ("keys = 5", "expected only tables"),
        ("[kyes.a]", "expected only tables"),
        ("[keys.a]", "keys.a: object missing required field sha256"),
        ("[keys.a]\nsha256 = 'secret'", "keys.a.sha256: expected str matching regex"),
        (f"[keys.a]\nsha256 = '{'0' * 64}'\nrate = '5'", "expected a rate such as 100/minute"),
        (f"[keys.a]\nsha256 = '{'0' * 64}'\nmodel = 'x'", "unknown field model"),
    ],
)
def test_errors_of_a_keys_file_do_not_reveal_secrets(config, tmp_path, text, says):
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(SettingError) as error:
        read_files(dataclasses.replace(config, api_keys_file=str(path)))
    assert says in str(error.value)
    assert "secret" not in str(error.value)


def test_bad_keys_in_the_environment_are_not_shown(config):
    with pytest.raises(SettingError) as error:
        read_files(dataclasses.replace(config, api_keys=("alice:my-secret",)))
    assert "ROCKSTAR_API_KEYS: word 1, NAME:HASH" in str(error.value)
    assert "my-secret" not in str(error.value)


def test_printed_settings_hide_keys(monkeypatch):
    done = CliRunner().invoke(
        cli, ["gateway", "--print-config"], env={"ROCKSTAR_API_KEYS": f"a:{'0' * 64}"}
    )
    assert "ROCKSTAR_API_KEYS=(hidden)" in done.stdout
    assert "000" not in done.stdout


SITE = "https://example.org"


def test_a_named_site_is_allowed(config, server, create_gateway):
    settings = dataclasses.replace(config, cors_origins=(SITE,))
    http = create_gateway(settings, server).test_client()
    response = post(http, Origin=SITE)
    assert response.headers["Access-Control-Allow-Origin"] == SITE
    assert "X-Request-ID" in response.headers["Access-Control-Expose-Headers"]
    assert "Origin" in response.headers["Vary"]
    # Its scripts can read errors too.
    assert http.post("/predict/toy", headers={"Origin": SITE}).headers[
        "Access-Control-Allow-Origin"
    ]
    for other in ("https://example.com", "null"):
        assert "Access-Control-Allow-Origin" not in post(http, Origin=other).headers


def test_preflight_requests_need_no_key(keyed):
    http = keyed(cors_origins=(SITE,))
    headers = {"Origin": SITE, "Access-Control-Request-Method": "POST"}
    assert http.options("/predict/toy").status_code == 401
    assert keyed().options("/predict/toy", headers=headers).status_code == 401
    response = http.options("/predict/toy", headers=headers)
    assert response.status_code == 200
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
    # A key is still required, and scripts can read the error without one.
    refused = post(http, Origin=SITE)
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == SITE


def test_all_sites_may_be_allowed(config, server, create_gateway):
    http = create_gateway(dataclasses.replace(config, cors_origins=("*",)), server).test_client()
    assert post(http, Origin=SITE).headers["Access-Control-Allow-Origin"] == "*"


def test_no_site_is_allowed_by_default(http):
    assert "Access-Control-Allow-Origin" not in post(http, Origin=SITE).headers


def test_pages_have_headers_of_their_own(config, server, create_gateway):
    blueprint = Blueprint("page", __name__)
    blueprint.get("/page")(lambda: "<p>hello")
    page = Api("page", blueprint, headers=PAGE_HEADERS)
    http = create_gateway(config, server, apis=(*APIS, page)).test_client()
    assert "default-src 'self'" in http.get("/page").headers["Content-Security-Policy"]
    other = http.get("/livez")
    assert "Content-Security-Policy" not in other.headers
    assert other.headers["X-Content-Type-Options"] == "nosniff"


def test_an_empty_file_of_keys_does_not_open_the_gateway(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text("")
    with pytest.raises(SettingError, match="holds no key"):
        read_keys(path)
