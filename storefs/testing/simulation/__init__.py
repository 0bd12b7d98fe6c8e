"""Many mounts of one store in one process, under a clock that jumps: everything drawn from one seed."""
