"""The command line: help, output, exit codes, and what each command does to a home."""
