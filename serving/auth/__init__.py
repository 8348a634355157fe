"""The auth service (:7999): tokens, accounts, API keys, audit log."""
