"""The benchmarks: each measures the platform and, in the same run, the floor it stands on."""
