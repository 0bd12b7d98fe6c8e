"""One tree: the POSIX verbs and the control verbs, without FUSE."""
