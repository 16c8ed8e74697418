"""The output of load generators, as numbers."""

import json

import pytest

from benchmarks.serving.load import LoadError, read_h2load, read_transfers, read_wrk

WRK = """Running 4s test @ http://127.0.0.1:8080
  2 threads and 16 connections
Requests/sec:    250.00
"""


def wrk_output(**changed):
    found = {
        "requests": 1000,
        "seconds": 4.0,
        "status_errors": 0,
        "socket_errors": 0,
        "timeouts": 0,
        "p50_ms": 12.5,
        "p90_ms": 20.0,
        "p99_ms": 80.25,
        "max_ms": 120.0,
    }
    return WRK + json.dumps({**found, **changed}) + "\n"


def test_wrk_reports_good_responses_per_second():
    load = read_wrk(wrk_output(status_errors=200), [1])
    assert load.good_rate == 200
    assert load.predictions == 800
    assert load.p99_ms == 80.25


def test_predictions_of_mixed_requests_count_by_their_share():
    assert read_wrk(wrk_output(requests=10), [1] * 9 + [32]).predictions == 41


H2LOAD = """finished in 1.00s, 100.00 req/s, 20.00KB/s
requests: 102 total, 100 started, 100 done, 100 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 100 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 20.0KB (20480) total, 5.0KB (5120) headers (space savings 50.00%), 9.77KB ({data}) data
"""


def h2load_log(latencies, status="200"):
    return "".join(f"{number}\t{status}\t{us}\n" for number, us in enumerate(latencies))


def test_h2load_percentiles_are_milliseconds():
    log = h2load_log(range(1000, 101_000, 1000))
    load = read_h2load(H2LOAD.format(data=100 * 50), log, 1.0, answer_bytes=50, predictions=2)
    assert load.p50_ms == pytest.approx(50.5)
    assert load.p99_ms == pytest.approx(99.0, abs=0.5)
    assert load.max_ms == 100
    assert (load.status_errors, load.predictions) == (0, 200)


def test_grpc_errors_show_in_the_bytes_that_are_missing():
    log = h2load_log([1000] * 100)
    load = read_h2load(H2LOAD.format(data=60 * 50), log, 1.0, answer_bytes=50, predictions=1)
    assert (load.status_errors, load.predictions) == (40, 60)
    assert load.good_rate == 60


def test_http_errors_under_grpc_are_no_predictions():
    log = h2load_log([1000] * 100, status="503")
    load = read_h2load(H2LOAD.format(data=0), log, 1.0, answer_bytes=50, predictions=1)
    assert (load.status_errors, load.predictions) == (100, 0)


def test_no_response_at_all_is_an_error_with_h2loads_output():
    with pytest.raises(LoadError, match=r"no answers.*refused"):
        read_h2load("connection refused", "", 1.0, answer_bytes=50, predictions=1)


def test_transfers_of_curl_and_of_the_client_are_status_and_seconds():
    load = read_transfers("200 0.010\n200 0.020\n429 0.001\n", 0.5)
    assert (load.requests, load.status_errors, load.predictions) == (3, 1, 2)
    assert (load.good_rate, load.p50_ms, load.max_ms) == (4, 10, 20)


def test_without_transfers_there_is_no_result():
    with pytest.raises(LoadError, match="only 0 responses"):
        read_transfers("", 1.0)
