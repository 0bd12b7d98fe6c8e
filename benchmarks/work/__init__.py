"""Workloads: each runs in a process of its own on the filesystem that is measured, and prints what it took."""
