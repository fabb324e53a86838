"""Several processes: launching, ranks, devices, signals."""
