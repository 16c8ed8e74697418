"""Errors from another process, which multiprocessing and concurrent.futures pickle."""

import importlib
import inspect
import multiprocessing
import pkgutil
from concurrent.futures import ProcessPoolExecutor

import pytest

import rockstar_client as clients
from rockstar_client.errors import CallError, InvalidRequestError, UnreadableExampleError
from rockstar_contract.errors import InvalidInputError, TooLargeError
from tfs_api.status import Code, StatusError


def error_classes() -> list[type[BaseException]]:
    names = [each.name for each in pkgutil.walk_packages(clients.__path__, "rockstar_client.")]
    found = {
        value
        for name in names
        for value in vars(importlib.import_module(name)).values()
        if inspect.isclass(value) and issubclass(value, BaseException)
    }
    ours = {each for each in found if each.__module__.startswith("rockstar_")}
    return sorted(ours | {StatusError, TooLargeError}, key=str)


def made(kind: type[BaseException]) -> BaseException:
    if issubclass(kind, CallError):
        error = kind(Code.UNAVAILABLE, "no – “cnn” is away", "r1", retry_after=1.5)
        if isinstance(error, InvalidRequestError):
            error.about({"field": "inputs[2]", "expected": "a", "got": "b", "hint": "c"}, 2)
        return error
    if issubclass(kind, StatusError):
        return kind(Code.NOT_FOUND, "no such model")
    if issubclass(kind, UnreadableExampleError):
        return kind(InvalidInputError("inputs[1]", expected="a", got="b", hint="c"), 1)
    if issubclass(kind, InvalidInputError):
        return kind("inputs[1]", expected="a", got="b", hint="c")
    return kind("what is wrong")


def fail(kind: type[BaseException]) -> None:
    error = made(kind)
    error.add_note("in a worker")
    raise error


def same(error: BaseException, kind: type[BaseException]) -> None:
    expected = made(kind)
    assert type(error) is kind
    assert (str(error), error.args) == (str(expected), expected.args)
    notes = vars(error).pop("__notes__")
    assert notes[0] == "in a worker"
    assert vars(error) == vars(expected)


def test_errors_raised_in_a_process_pool_reach_the_caller():
    kinds = error_classes()
    assert len(kinds) > 10
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        for kind in kinds:
            with pytest.raises(kind) as caught:
                pool.apply_async(fail, (kind,)).get(60)
            same(caught.value, kind)
    with ProcessPoolExecutor(1, context) as executor:
        for kind in kinds:
            with pytest.raises(kind) as caught:
                executor.submit(fail, kind).result(60)
            same(caught.value, kind)
