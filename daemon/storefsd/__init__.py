"""The daemon: pyfuse3 on trio, control files, signals."""
