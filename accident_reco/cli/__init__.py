"""The command `accident-reco`: one module a group of commands. Thin: what a command does is in the floors below.

Holds arguments, output (tables on a terminal, lines in a pipe, JSON) and exit codes. No other package imports it.
"""
