"""What the sites draw now: the newest samples of the sessions on their ports."""

from datetime import timedelta

from charging import overview
from tests.integration.charging.stand import Stand, meter_for


def test_the_power_of_a_site_is_that_of_its_newest_samples(stand: Stand) -> None:
    charging, over = stand.charging(port_no=1), stand.charging(port_no=2)
    meter_for(stand, charging.session_id, minutes=1, power_dw=2_400)
    stand.now += timedelta(minutes=5)
    meter_for(stand, charging.session_id, minutes=1, power_dw=1_800)
    meter_for(stand, over.session_id, minutes=1, power_dw=900, pile_id="YQ-02")
    power_dw = {site.site_id: site.power_dw for site in overview.sites_now(stand.conn, now=stand.now)}
    assert power_dw[charging.site_id] == 1_800
    assert sum(power_dw.values()) == 1_800


def test_samples_of_hours_ago_say_nothing_of_the_power_now(stand: Stand) -> None:
    session = stand.charging()
    meter_for(stand, session.session_id, minutes=1, power_dw=2_400)
    later = stand.now + overview.POWER_LIFE + timedelta(minutes=2)
    [site] = [site for site in overview.sites_now(stand.conn, now=later) if site.site_id == session.site_id]
    assert (site.ports_taken, site.power_dw) == (1, 0)
