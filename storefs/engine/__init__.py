"""The verbs: read, write, commit, recover, ..."""
