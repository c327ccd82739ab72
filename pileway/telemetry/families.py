"""Small makers of metric families, for collectors that read what exists when somebody scrapes."""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from gateway.measures import Distribution

Labelled = Mapping[tuple[str, ...], float]


def gauge(name: str, words: str, value: float) -> Metric:
    """One value that rises and falls."""
    return GaugeMetricFamily(name, words, value=value)


def gauges(name: str, words: str, labels: Iterable[str], values: Labelled) -> Metric:
    """Values that rise and fall, by labels."""
    family = GaugeMetricFamily(name, words, labels=list(labels))
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family


def counter(name: str, words: str, value: float) -> Metric:
    """One value that only grows; shown as `<name>_total`."""
    return CounterMetricFamily(name, words, value=value)


def counters(name: str, words: str, labels: Iterable[str], values: Labelled) -> Metric:
    """Values that only grow, by labels."""
    family = CounterMetricFamily(name, words, labels=list(labels))
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family


def histogram(name: str, words: str, distribution: Distribution) -> Metric:
    """One distribution."""
    return histograms(name, words, (), {(): distribution})


def histograms(
    name: str, words: str, labels: Iterable[str], distributions: Mapping[tuple[str, ...], Distribution]
) -> Metric:
    """Distributions, by labels."""
    family = HistogramMetricFamily(name, words, labels=list(labels))
    for key, distribution in distributions.items():
        bounds = [*(f"{bound:g}" for bound in distribution.bounds), "+Inf"]
        family.add_metric(
            list(key),
            list(zip(bounds, accumulate(distribution.counts), strict=True)),
            sum_value=distribution.total,
        )
    return family
