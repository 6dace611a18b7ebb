"""Who has a lease, and who has it no more."""

from __future__ import annotations

import pytest
from lab.collecting import VirtualClock
from lab.purging import make_older

from cfmiddleware.registry.collect import lease as leases
from cfmiddleware.registry.collect.lease import Lease, LeaseTaken
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.memory import MemoryDriver


def another(driver: MemoryDriver, patch: pytest.MonkeyPatch) -> Lease:
    """Return the lease of another process."""
    with patch.context() as inside:
        inside.setattr(leases, "this_process", lambda: "process 1 on another (elsewhere)")
        return Lease(driver)


@pytest.mark.parametrize("renews", [False, True])
def test_who_was_stopped_for_long_leaves_the_lease_to_the_one_who_has_taken_it(
    monkeypatch: pytest.MonkeyPatch, renews: bool
) -> None:
    driver, clock = MemoryDriver(), VirtualClock()
    ours, theirs = Lease(driver, clock), another(driver, monkeypatch)

    with ours.held():
        with pytest.raises(LeaseTaken), theirs.held():
            pass
        clock.sleep(100)
        make_older(driver, 100)
        with theirs.held():
            kept = driver.read(paths.LEASE)
            if renews:
                ours.renew()
                assert driver.read(paths.LEASE) == kept
                ours.renew()
        theirs._take()
    assert driver.read(paths.LEASE) == kept


def test_who_was_stopped_for_long_keeps_a_lease_that_nobody_has_taken() -> None:
    driver, clock = MemoryDriver(), VirtualClock()
    ours = Lease(driver, clock)

    with ours.held():
        clock.sleep(100)
        before = driver.stat(paths.LEASE).modified
        ours.renew()
        assert driver.stat(paths.LEASE).modified > before
        clock.sleep(100)
    assert not driver.list(paths.LEASE.removesuffix("lease"))
