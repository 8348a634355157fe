"""Issues tokens and keeps accounts (:7999)."""
