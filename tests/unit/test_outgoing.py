"""Alerts go out over TLS or stay on this machine, and a refused setting does not show its value."""

import pytest

from security.outgoing import WAKE_SECRET_LENGTH_MIN, check_outgoing_url
from workers.settings import AlertSettings, DoorSettings, SettingsError, read_settings


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com/services/T0/B0/x", "https://events.pagerduty.com/v2/enqueue",
        "http://127.0.0.1:8099/v2/enqueue", "http://localhost/x", "http://[::1]:80/", "https://10.0.0.1:8443",
    ],
)  # fmt: skip
def test_over_tls_or_to_this_machine(url: str) -> None:
    assert check_outgoing_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "", "hooks.slack.com", "http://hooks.slack.com/services/x", "http://10.0.0.1/", "ftp://127.0.0.1/",
        "https://user:password@hooks.slack.com/", "http://127.0.0.1@evil.example/", "http://127.0.0.1.evil.example/",
        "http://localhost.evil.example/", "https://a/?q=canary", "https://a/#canary", "https://a\\canary",
        "https://a/ canary", "https://a/\ncanary", "https://a:99999/canary", "http://0.0.0.0/canary",
        "http://2130706433/canary", "file:///etc/passwd", "https:///canary",
    ],
)  # fmt: skip
def test_nowhere_else_and_the_address_is_not_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="address") as refused:
        check_outgoing_url(url)
    assert "canary" not in str(refused.value)
    monkeypatch.setenv("TRADING_ALERT_SLACK_URL", url)
    if url:
        with pytest.raises(SettingsError, match="TRADING_ALERT_SLACK_URL") as ended:
            read_settings(AlertSettings)
        assert "canary" not in str(ended.value)
        assert "CANARY" not in str(ended.value)


def test_what_is_no_secret_of_its_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value, kind in (
        ("TRADING_ALERT_PAGERDUTY_ROUTING_KEY", "canary", AlertSettings),
        ("TRADING_ALERT_PAGERDUTY_URL", "http://canary.example/", AlertSettings),
        ("TRADING_ALERT_SLACK_FROM", "canary", AlertSettings),
        ("TRADING_BROKER_WAKE_SECRET", "c" * (WAKE_SECRET_LENGTH_MIN - 1), DoorSettings),
    ):
        with monkeypatch.context() as told:
            told.setenv(variable, value)
            with pytest.raises(SettingsError, match=variable) as refused:
                read_settings(kind)
            assert value not in str(refused.value)


def test_empty_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Compose has it for what nobody has written yet: an empty file."""
    for name in ("ALERT_SLACK_URL", "ALERT_PAGERDUTY_ROUTING_KEY", "BROKER_WAKE_SECRET"):
        monkeypatch.setenv(f"TRADING_{name}", " ")
    alerts = read_settings(AlertSettings)
    assert (alerts.alert_slack_url, alerts.alert_pagerduty_routing_key) == (None, None)
    assert read_settings(DoorSettings).broker_wake_secret is None
