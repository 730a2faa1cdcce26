"""The hint at the name that a user may have meant."""

import pytest

from results.record.columns import State
from results.record.errors import nearest


@pytest.mark.parametrize(
    ("name", "hint"),
    [("trails", " Did you mean 'trials'?"), ("epoch", " Did you mean 'epochs'?"), ("xyz", "")],
)
def test_the_nearest_name_is_suggested_if_one_is_near(name, hint):
    assert nearest(name, ["epochs", "trials"]) == hint


def test_the_members_of_an_enumeration_are_suggested_by_their_values():
    assert nearest("complete", State) == " Did you mean 'completed'?"
