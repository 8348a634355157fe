"""The console: pages for people over the HTTP APIs of the other services. Holds no logic of theirs."""
