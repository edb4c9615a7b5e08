"""Measurements, each against a peer or a bound taken in the same run. `make bench` prints ratios beside their goals."""
