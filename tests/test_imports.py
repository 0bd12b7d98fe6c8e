"""What an import may cost: the heavy libraries are loaded by the few commands that need them."""

import subprocess
import sys

import pytest


def loaded_by(module: str) -> set[str]:
    """Return the names of all modules that a fresh interpreter holds after importing ``module``."""
    program = f"import sys, {module}; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("storefs", {"torch", "boto3", "botocore", "pyfuse3"}),
        ("storefs.cli.main", {"torch", "boto3", "botocore"}),
    ],
)
def test_import_is_light(module, heavy):
    loaded = loaded_by(module)
    assert module in loaded
    assert loaded & heavy == set()
