"""`python -m serving.auth [serve|init|rotate-keys]`: runs the service, creates key and admin, rotates keys."""

import argparse
import sys

from serving.common.run import serve


def main() -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m serving.auth", description="The auth service and its keys")
    parser.add_argument(
        "command",
        nargs="?",
        default="serve",
        choices=("serve", "init", "rotate-keys"),
        help="serve (default); init: create the first key and admin; rotate-keys: sign with a new key from now on",
    )
    command = parser.parse_args().command
    if command == "serve":
        return serve("auth", "serving.auth.app:create_process_app", "auth_port")
    return _manage(command)


def _manage(command: str) -> int:
    from accident_reco.settings import Settings, SettingsError
    from accident_reco.storage import accounts
    from accident_reco.storage.warehouse import Warehouse
    from serving.auth.bootstrap import ensure_admin
    from serving.auth.keys import KeyRing

    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if command == "rotate-keys":
        kid = KeyRing(settings.keys).rotate()
        sys.stdout.write(f"new signing key: {kid}; the previous one still verifies\n")
        accounts.audit(Warehouse(settings.database), "system", "keys.rotate", target=kid)
        return 0
    warehouse = Warehouse(settings.database)
    if warehouse.is_sqlite:  # PostgreSQL is migrated by its owner, with `accident-reco prepare`; this role may not
        warehouse.upgrade()
        warehouse.close()
    try:
        password = ensure_admin(settings)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"admin password: {password}\n" if password else "an admin exists already\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
