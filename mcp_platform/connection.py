"""The connection to Temporal."""

from temporalio.client import Client, TLSConfig
from temporalio.runtime import LoggingConfig, PrometheusConfig, Runtime, TelemetryConfig, TelemetryFilter

from mcp_platform.plugin import PLATFORM
from mcp_platform.settings import TemporalSettings


def worker_runtime(metrics_address: str | None) -> Runtime:
    """Make a runtime whose metrics Prometheus can read at this address, `host:port`."""
    return Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(TelemetryFilter(core_level="WARN", other_level="ERROR")),
            metrics=PrometheusConfig(bind_address=metrics_address) if metrics_address else None,
        )
    )


async def connect_temporal(
    address: str, settings: TemporalSettings, *, lazy: bool = False, runtime: Runtime | None = None
) -> Client:
    """Open a client with the platform's converter.

    Args:
        address: Host and port of the frontend.
        settings: Namespace and credentials.
        lazy: Connect at the first call, so that a part can start while Temporal is away.
        runtime: Where the SDK's own metrics go.
    """
    return await Client.connect(
        address,
        namespace=settings.namespace,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        tls=_tls(settings),
        plugins=[PLATFORM],
        lazy=lazy,
        runtime=runtime,
    )


def _tls(settings: TemporalSettings) -> TLSConfig | bool:
    paths = (settings.tls_ca_path, settings.tls_cert_path, settings.tls_key_path)
    if not any(paths):
        return settings.tls
    ca, cert, key = (path.read_bytes() if path else None for path in paths)
    return TLSConfig(
        server_root_ca_cert=ca, client_cert=cert, client_private_key=key, domain=settings.tls_server_name
    )
