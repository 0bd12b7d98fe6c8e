"""Every metric of storefs in one table: the class body of ``Metrics``, one row per line."""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar, cast, overload

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

Kind = TypeVar("Kind", bound=Counter | Gauge | Histogram)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Row(Generic[Kind]):
    """A line of the table; read from a ``Metrics`` instance it is that instance's metric.

    Attributes:
        name: its name in Prometheus (counters are shown with ``_total`` behind it): ``storefs_`` and the attribute, but
            for ``des_``, which are the names of Data Easy Store.
        kind: Counter, Gauge or Histogram.
        text: what it counts, with its unit.
        labels: the names of its labels, in the order that ``labels()`` takes them.
    """

    def __init__(self, kind: type[Kind], text: str, *labels: str) -> None:
        self.name = ""
        self.kind = kind
        self.text = text
        self.labels = labels
        self._attribute = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._attribute = name
        self.name = name if name.startswith("des_") else f"storefs_{name}"

    @overload
    def __get__(self, instance: None, owner: type) -> "Row[Kind]": ...
    @overload
    def __get__(self, instance: "Metrics", owner: type) -> Kind: ...
    def __get__(self, instance: "Metrics | None", owner: type) -> "Row[Kind] | Kind":
        if instance is None:
            return self
        return cast("Kind", instance.made[self._attribute])

    def make(self, registry: CollectorRegistry) -> Kind:
        """Return a fresh metric of this row, registered with ``registry``."""
        buckets: dict[str, Any] = {"buckets": _SECONDS} if issubclass(self.kind, Histogram) else {}
        return self.kind(self.name, self.text, self.labels, registry=registry, **buckets)


class Metrics:
    """All metrics of one mount, in a registry of their own (two mounts in one process do not mix)."""

    store_requests = Row(Counter, "Requests to the object store, by what came of them", "operation", "outcome")
    store_seconds = Row(Histogram, "How long requests to the object store took", "operation")
    store_bytes = Row(Counter, "Bytes of objects, in (read) and out (written)", "direction")
    store_retries = Row(Counter, "Requests to the object store that were tried again", "operation")
    des_retrievals = Row(Counter, "Files asked of an archive, by what came of them", "backend", "status")
    des_retrieval_seconds = Row(Histogram, "How long files of an archive took", "backend")
    des_s3_range_calls = Row(Counter, "Ranges asked of an archive's store, by what they are", "backend", "type")

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.made: dict[str, Any] = {row.name.removeprefix("storefs_"): row.make(self.registry) for row in rows()}

    def snapshot(self) -> dict[str, Any]:
        """Return all values as plain dicts, keyed by metric, then by each label's value in turn; ready for JSON.

        A histogram's value is its count and its sum (in the metric's unit).
        """
        return {name: _values(metric) for name, metric in self.made.items()}

    def render(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def rows() -> Iterator[Row[Any]]:
    """Yield the table's rows in the order they are written; the documentation is made from them."""
    return (row for row in vars(Metrics).values() if isinstance(row, Row))


def _values(metric: Counter | Gauge | Histogram) -> Any:
    """Return the values of one metric: a number (or count and sum), below one dict for each label."""
    tree: dict[str, Any] = {}
    for family in metric.collect():
        for sample in family.samples:
            field = sample.name.removeprefix(family.name)
            if field in {"_created", "_bucket"}:
                continue
            at = tree
            path = ["", *sample.labels.values()]
            for step in path[:-1]:
                at = at.setdefault(step, {})
            if family.type == "histogram":
                at.setdefault(path[-1], {})[field.removeprefix("_")] = sample.value
            else:
                at[path[-1]] = sample.value
    return tree.get("", {})
