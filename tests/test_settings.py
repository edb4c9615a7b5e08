"""What holds for the settings of every process, whatever they are composed of."""

from pathlib import Path

import pytest

from etcd_auth.config import AuthSettings
from gateway_svc.config import GatewaySettings
from service_kit.settings import InvalidSettingsError, ServiceSettings, load
from user_svc.config import UserSettings

KEYS = [
    (settings, name)
    for settings in (AuthSettings, GatewaySettings, UserSettings)
    for name in settings.model_fields
    if name.endswith("_key_file")
]


@pytest.mark.parametrize(("settings", "key"), KEYS, ids=lambda value: getattr(value, "__name__", value))
def test_certificate_without_its_key_is_refused(
    settings: type[ServiceSettings], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    certificate = key.replace("_key_file", "_cert_file").upper()
    monkeypatch.setenv("ETCD_ADDRESS", "https://127.0.0.1:2379")
    monkeypatch.setenv("ETCD_CA_FILE", "ca.crt")
    monkeypatch.setenv(certificate, "tls.crt")
    with pytest.raises(InvalidSettingsError) as refused:
        load(settings)
    assert f"{key.upper()}: must be set when {certificate} is" in refused.value.problems
