"""Metrics as text, and the Pushgateway that takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

from prometheus_client import CollectorRegistry, push_to_gateway
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import basic_auth_handler, default_handler
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from jobs.core.telling.metrics import Gauge
from jobs.errors import NotAnnouncedError

_JOB = "litellm_lago"


def metrics_text(gauges: Iterable[Gauge]) -> bytes:
    """Return the gauges in OpenMetrics text, which for gauges is Prometheus's own text format as well."""
    text: bytes = generate_latest(_registry(gauges))  # type: ignore[no-untyped-call] # the library leaves it untyped
    return text


def push(url: str, group: str, gauges: Iterable[Gauge], patience: timedelta) -> None:
    """Replace one group of a Pushgateway by these gauges; raise `NotAnnouncedError` where it does not take them."""
    parts = urlsplit(url)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"

    user = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))

    def handler(
        url: str, method: str, timeout: float | None, headers: list[tuple[str, str]], data: bytes
    ) -> Callable[[], None]:
        request = (url, method, timeout, headers, data)
        return default_handler(*request) if user is None else basic_auth_handler(*request, *user)

    try:
        push_to_gateway(
            address,
            _JOB,
            _registry(gauges),
            grouping_key={"group": group},
            timeout=patience.total_seconds(),
            handler=handler,
        )
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise NotAnnouncedError(
            f"the Pushgateway {address} did not take the metrics: {error}", "See RECONCILE_PUSHGATEWAY_URL"
        ) from error


def _registry(gauges: Iterable[Gauge]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fixed(tuple(gauges)))
    return registry


class _Fixed(Collector):
    def __init__(self, gauges: Sequence[Gauge]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for gauge in self._gauges:
            family = GaugeMetricFamily(gauge.name, gauge.meaning, labels=gauge.labels)
            for sample in gauge.samples:
                family.add_metric(sample.labels, float(sample.value))
            yield family
