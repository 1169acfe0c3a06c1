"""The table of transitions is what the design draws."""

from itertools import product

import pytest

from chalicelib.domain.states import ACTIVE, TERMINAL, IllegalTransition, Status, check_transition

DRAWN = {
    ("pending", "running"),
    ("pending", "succeeded"),
    ("pending", "failed"),
    ("pending", "stopping"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "stopping"),
    ("stopping", "stopped"),
}


@pytest.mark.parametrize(
    ("old", "new"), [pytest.param(a, b, id=f"{a}→{b}") for a, b in product(Status, Status)]
)
def test_only_the_drawn_transitions_are_allowed(old: Status, new: Status) -> None:
    if (old, new) in DRAWN:
        check_transition(old, new)
    else:
        with pytest.raises(IllegalTransition, match=f"{old} → {new}"):
            check_transition(old, new)


def test_terminal_states_lead_nowhere_and_the_others_are_active() -> None:
    assert {"stopped", "succeeded", "failed"} == TERMINAL
    assert {"pending", "running", "stopping"} == ACTIVE
