"""Measurements to run by hand or by `make bench`; not tests, since their figures depend on the machine."""
