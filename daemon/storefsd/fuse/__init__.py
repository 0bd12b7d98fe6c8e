"""The kernel side: request loop, operations, replies, invalidations."""
