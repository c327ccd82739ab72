"""All settings of Pileway, from the environment (`PILEWAY_...`); only entry points read them.

What is not set is taken from the embedded parts, which fill it in before they start a process: every child
finds a complete environment.
"""

import base64
import binascii
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    SecretBytes,
    SecretStr,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from gateway.broker_address import BrokerAddress
from gateway.errors import BrokerUrlInvalid
from pileway.clock import Clock
from pileway.errors import SettingsInvalid

PREFIX = "PILEWAY_"
KEY_SIZE_BYTES = 32
MIN_TOKEN_LENGTH = 16

T = TypeVar("T")


def _decode_key(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        key = base64.b64decode(value, validate=True)
    except binascii.Error:
        raise ValueError("is not base64") from None
    if len(key) != KEY_SIZE_BYTES:
        raise ValueError(f"holds {len(key)} bytes after base64, not {KEY_SIZE_BYTES}")
    return key


def _check_database_url(url: SecretStr) -> SecretStr:
    try:
        conninfo_to_dict(url.get_secret_value())
    except ProgrammingError:
        # The parser's own words may quote the password.
        raise ValueError("is neither postgresql://... nor keyword=value pairs") from None
    return url


def _check_broker_url(url: str) -> str:
    try:
        BrokerAddress.parse(url)
    except BrokerUrlInvalid:
        raise ValueError(
            "must be mqtts://host[:port], or mqtt:// to this machine alone (127.0.0.1)"
        ) from None
    return url


def _check_device_broker_url(url: str) -> str:
    if not url.startswith("mqtts://"):
        raise ValueError("must start with mqtts://")
    return url


def _check_web_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return url.rstrip("/")


def _check_file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    return path


Key = Annotated[SecretBytes, BeforeValidator(_decode_key)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_check_database_url)]
BrokerUrl = Annotated[str, AfterValidator(_check_broker_url)]
DeviceBrokerUrl = Annotated[str, AfterValidator(_check_device_broker_url)]
WebUrl = Annotated[str, AfterValidator(_check_web_url)]
ExistingFile = Annotated[Path, AfterValidator(_check_file)]
Token = Annotated[SecretStr, Field(min_length=MIN_TOKEN_LENGTH)]
Port = Annotated[int, Field(ge=1, le=65_535)]


class Settings(BaseSettings):
    """One installation's settings; the environment variable is the name in upper case after `PILEWAY_`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, env_ignore_empty=True, extra="forbid", validate_default=True
    )

    home: Path = Path(".pileway")
    """Folder of the embedded parts, generated secrets and logs."""

    database_url: DatabaseUrl | None = None
    """postgresql://... or keyword=value pairs; puts a server of your own in place of the embedded one."""
    database_port: Port | None = None
    """Port of the embedded PostgreSQL; a free one when not set."""

    broker_url: BrokerUrl | None = None
    """mqtts://..., or mqtt:// on this machine; the gateway's side of a broker of your own, in place of ours."""
    device_broker_url: DeviceBrokerUrl | None = None
    """What piles are told at enrolment; `broker_url` when not set."""
    device_port: Port | None = None
    """Port the embedded broker gives piles; a free one when not set."""
    broker_ca_path: ExistingFile | None = None
    """Certificate that signed the broker's own one (PEM)."""
    gateway_certificate_path: ExistingFile | None = None
    """The gateway's client certificate (PEM)."""
    gateway_key_path: ExistingFile | None = None
    """Key of the gateway's certificate (PEM)."""
    device_ca_path: ExistingFile | None = None
    """Certificate of the authority that signs piles' certificates (PEM)."""
    device_ca_key_path: ExistingFile | None = None
    """Key of the device authority (PEM)."""

    device_crl_path: Path | None = None
    """Where the list of revoked piles' certificates is kept up to date (PEM), for the broker to read."""
    flood_frames_per_s: Annotated[int, Field(ge=1, le=10_000)] = 50
    """More messages a second than this, five seconds long, and a pile is quarantined."""

    key_encryption_key: Key | None = None
    """32 bytes in base64; wraps the devices' secrets in the database."""
    operator_token: Token | None = None
    """Bearer token of the operator's API."""

    host: str = "127.0.0.1"
    """Address the web server listens on."""
    port: Port = 8080
    """Port the web server listens on."""
    public_url: WebUrl | None = None
    """Where riders and piles reach us; http://host:port when not set."""
    enrolment_port: Port = 8443
    """Port on which piles enrol, over HTTPS."""
    server_certificate_path: ExistingFile | None = None
    """Certificate of the HTTPS server that piles enrol at (PEM)."""
    server_key_path: ExistingFile | None = None
    """Key of that certificate (PEM)."""
    device_url: WebUrl | None = None
    """Where piles reach that server; https://host:enrolment_port when not set."""
    firmware_public_key_path: ExistingFile | None = None
    """The firmware maker's Ed25519 public key (PEM); uploads it did not sign are refused. Unchecked when not set."""
    payment_sim_port: Port = 8081
    """Port of the simulated payment rails."""
    payment_sim_folder: Path | None = None
    """Keys and books of the simulated WeChat Pay."""

    metrics_host: str = "127.0.0.1"
    """Address on which gateway, API and worker show metrics and health; a private one, as nobody is asked who he is."""
    metrics_port: Annotated[int, Field(ge=0, le=65_533)] = 9464
    """Port of the gateway there; the API's is the next, the worker's the one after. 0 shows nothing."""
    otlp_endpoint: WebUrl | None = None
    """Collector of OpenTelemetry traces, over HTTP (http://host:4318); no traces are made when not set."""
    trace_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Which share of batches, commands and requests is traced."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """Lines for people, one JSON object a line, or by what the output is: a terminal or not."""

    clock_speed: Annotated[float, Field(gt=0, le=10_000)] = 1.0
    """How many times faster than real time the platform's clock runs; 1 outside the demo."""
    clock_anchor: AwareDatetime | None = None
    """Real instant at which the clock showed `clock_start`; the process's start when not set."""
    clock_start: AwareDatetime | None = None
    """What the clock showed at `clock_anchor`; the anchor itself when not set."""

    wechat_pay_url: WebUrl | None = None
    """Base of WeChat Pay's API v3, or of the simulated one."""
    wechat_pay_app_id: str | None = None
    """appid the merchant is bound to."""
    wechat_pay_merchant_id: str | None = None
    """mchid."""
    wechat_pay_merchant_serial: str | None = None
    """Serial number of the merchant's API certificate."""
    wechat_pay_merchant_key_path: ExistingFile | None = None
    """The merchant's RSA key (PEM)."""
    wechat_pay_public_key_id: str | None = None
    """Id of WeChat Pay's public key, PUB_KEY_ID_..."""
    wechat_pay_public_key_path: ExistingFile | None = None
    """WeChat Pay's public key (PEM)."""
    wechat_pay_api_v3_key: SecretStr | None = None
    """32 characters; opens the notifications."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings gives it
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings gives it
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options first, then the environment, then the files of the secrets folder."""
        folder = os.environ.get(f"{PREFIX}SECRETS_DIR")
        files = (SecretsSettingsSource(settings_cls, secrets_dir=folder),) if folder else ()
        return (init_settings, env_settings, *files)

    @property
    def clock(self) -> Clock:
        """The clock these settings describe."""
        anchor = self.clock_anchor or datetime.now(UTC)
        return Clock(speed=self.clock_speed, anchor=anchor, start=self.clock_start or anchor)

    @property
    def reachable_host(self) -> str:
        """Where others find what listens on `host`; a server on all addresses is found at least on this machine."""
        return "127.0.0.1" if self.host == "0.0.0.0" else self.host  # noqa: S104 - compared, not bound

    @property
    def web_url(self) -> str:
        """Where riders and piles reach us."""
        return self.public_url or f"http://{self.reachable_host}:{self.port}"

    @property
    def device_web_url(self) -> str:
        """Where piles reach the server they enrol at and fetch firmware from."""
        return self.device_url or f"https://{self.reachable_host}:{self.enrolment_port}"

    def with_values(self, **values: Any) -> Self:
        """A copy with other values, validated like the first ones; raises `SettingsInvalid`."""
        kept: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        try:
            return type(self)(**(kept | values))
        except ValidationError as error:
            raise _named(error) from None

    def environment(self) -> dict[str, str]:
        """The variables that give another process these very settings."""
        return {
            f"{PREFIX}{name.upper()}": _text(value)
            for name in type(self).model_fields
            if (value := getattr(self, name)) is not None
        }


def load(**options: Any) -> Settings:
    """Read the settings of this process; `options` (from the command line) win over the environment.

    Files in the folder `PILEWAY_SECRETS_DIR`, named like the variables, are read too. Raises `SettingsInvalid`,
    also for a variable nobody knows: a misspelt setting must not be ignored.
    """
    for variable in os.environ:
        name = variable.removeprefix(PREFIX).lower()
        if variable.startswith(PREFIX) and name not in Settings.model_fields and not _is_other(variable):
            raise SettingsInvalid(variable, "there is no such setting")
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        raise _named(error) from None


def required(value: T | None, variable: str) -> T:
    """The value of a setting that this process cannot do without; raises `SettingsInvalid` if it is not set."""
    if value is None:
        raise SettingsInvalid(variable, "is not set; it is needed when the parts run as separate processes")
    return value


def _is_other(variable: str) -> bool:
    return variable == f"{PREFIX}SECRETS_DIR" or variable.startswith(f"{PREFIX}TEST_")


def _named(error: ValidationError) -> SettingsInvalid:
    first = error.errors(include_input=False, include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    reason = first["msg"].removeprefix("Value error, ")
    return SettingsInvalid(f"{PREFIX}{name.upper()}", reason)


def _text(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case SecretBytes():
            return base64.b64encode(value.get_secret_value()).decode()
        case Path():
            return str(value.absolute())
        case datetime():
            return value.isoformat()
        case _:
            return str(value)
