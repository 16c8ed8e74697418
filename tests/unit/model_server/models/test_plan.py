"""What is loaded and unloaded next."""

from hypothesis import assume, given
from hypothesis import strategies as st

from rockstar_serving.model_server.models.config import All, Latest, Specific, VersionPolicy
from rockstar_serving.model_server.models.plan import Fitness, Plan, Versions, make_plan

READY, SOON, UNFIT = Fitness.READY, Fitness.SOON, Fitness.UNFIT

numbers = st.frozensets(st.integers(0, 6))
policies: st.SearchStrategy[VersionPolicy] = st.one_of(
    st.builds(Latest, st.integers(1, 3)),
    st.just(All()),
    st.builds(Specific, numbers.filter(bool)),
)


def plan(policy: VersionPolicy, found: set[int], serving: set[int], **fitness: Fitness) -> Plan:
    versions = Versions(found=found, serving=serving, loading=set(), available=serving)
    return make_plan(policy, versions, lambda version: fitness[f"v{version}"])


def test_a_version_that_will_soon_be_ready_keeps_its_place() -> None:
    assert plan(Latest(), {1, 2}, set(), v1=READY, v2=SOON) == Plan(awaited=(2,))
    assert plan(Latest(), {1, 2}, {1}, v2=SOON) == Plan(awaited=(2,))


def test_one_that_is_not_leaves_it_to_the_next() -> None:
    assert plan(Latest(), {1, 2}, set(), v1=READY, v2=UNFIT) == Plan(load=(1,))
    assert plan(Latest(), {1, 2}, {1}, v2=UNFIT) == Plan()


def test_the_highest_is_loaded_first() -> None:
    assert plan(All(), {1, 2, 3}, {2}, v1=READY, v3=READY) == Plan(load=(3, 1))


def test_what_is_not_chosen_goes_when_all_that_is_chosen_is_served() -> None:
    assert plan(Latest(2), {1, 2, 3}, {1, 2}, v3=READY) == Plan(load=(3,))
    assert plan(Latest(2), {1, 2, 3}, {1, 2, 3}) == Plan(unload=(1,))
    assert plan(Latest(), set(), {1}) == Plan(unload=(1,))


@given(policies, numbers, numbers, numbers, numbers, numbers)
def test_what_is_served_stays_until_there_is_something_better(
    policy: VersionPolicy,
    found: frozenset[int],
    available: frozenset[int],
    loading: frozenset[int],
    ready: frozenset[int],
    soon: frozenset[int],
) -> None:
    assume(not available & loading)
    fitness = (
        dict.fromkeys(range(7), UNFIT) | dict.fromkeys(soon, SOON) | dict.fromkeys(ready, READY)
    )
    versions = Versions(found, available & found, loading & found, available)
    plan = make_plan(policy, versions, fitness.__getitem__)
    # Nothing is loaded twice, or without a folder, or before it is ready.
    assert set(plan.load) <= (found & ready) - available - loading
    if plan.unload:
        # What the policy chooses of all that there is goes only together with its folder, and
        # the last version only where the policy chooses nothing.
        assert not set(plan.unload) & policy.choose(found)
        assert available - set(plan.unload) or not policy.choose(found)
    # Once everything is ready and loaded, exactly what the policy chooses is left.
    if ready >= found and not plan.load and not loading & found:
        assert available - set(plan.unload) == policy.choose(found)
