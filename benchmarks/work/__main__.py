"""``python -m benchmarks.work VERB JSON`` runs one workload with its arguments and prints its result as JSON."""

import json
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.work import large, listing, small, tensors

_VERBS: dict[str, Callable[..., dict[str, Any]]] = {
    "fill": small.fill,
    "read": small.read,
    "verify": small.verify,
    "walk-read": small.walk_read,
    "create": small.create,
    "list": listing.list_tree,
    "fill-big": listing.fill,
    "read-big": listing.read,
    "write-large": large.write,
    "read-large": large.read,
    "verify-large": large.verify,
    "random-read": large.read_randomly,
    "remove": large.remove,
    "make-tensors": tensors.make,
    "touch-tensors": tensors.touch,
}


def main() -> None:
    """Run the workload that the command line names."""
    verb, arguments = sys.argv[1:]
    json.dump(_VERBS[verb](**json.loads(arguments)), sys.stdout)


if __name__ == "__main__":
    main()
