"""The kernel side: request loop, operations, replies, invalidations, the bridge."""

import ctypes
import sys

# The bridge has to be in the process before pyfuse3 is, visible to all (RTLD_GLOBAL): its fuse_session_new stands in
# for that of libfuse. It does nothing until it is enabled.
_flags = sys.getdlopenflags()
sys.setdlopenflags(_flags | ctypes.RTLD_GLOBAL)
try:
    import storefsd.fuse._bridge  # noqa: F401
except ImportError:
    pass  # not built here: see storefsd.fuse.bridge
finally:
    sys.setdlopenflags(_flags)
