"""The documentation: its commands run, its reference agrees with the code, the first start works as it is written."""
