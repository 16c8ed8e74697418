from rockstar_serving.gateway.upstream.late import Late
from tests.unit.gateway.conftest import FakeServer


def test_it_connects_with_the_first_call_and_once():
    made: list[FakeServer] = []

    def connect() -> FakeServer:
        made.append(FakeServer())
        return made[-1]

    late = Late(connect)
    assert not made
    assert late.contract("toy") == late.contract("toy")
    assert len(made) == 1
    late.close()


def test_what_was_never_asked_is_not_connected_to_be_closed():
    made: list[FakeServer] = []
    Late(lambda: made.append(FakeServer()) or made[-1]).close()
    assert not made
