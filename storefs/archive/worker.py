"""The worker: a process that does jobs of a packer.

It reads the paths of jobs, line by line, and says what came of them, a line of JSON each; it ends when there are no
more.
"""

import json
import sys
from pathlib import Path

from storefs.archive import job
from storefs.errors import NoSpace, StorefsError


def main() -> None:
    """Do jobs until standard input ends."""
    for line in sys.stdin:
        try:
            answer = job.run(Path(json.loads(line))).pack()
        except (StorefsError, OSError) as error:
            full = isinstance(error, NoSpace) or getattr(error, "errno", None) == NoSpace.errno
            answer = json.dumps({"error": str(error), "full": full})
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
