"""What the tests of KVault share."""

import pytest

from storefs.vault import KVault


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.db"


@pytest.fixture
def vault(path):
    with KVault(path) as found:
        yield found


@pytest.fixture(params=["no cache", "cache"])
def either(path, request):
    """A vault without and one with a cache: nobody can tell them apart."""
    with KVault(path) as found:
        if request.param == "cache":
            found.enable_cache(cap_bytes=1000, flush_threshold=500)
        yield found
