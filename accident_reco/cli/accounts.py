"""Commands on accounts and API keys, for the administrator of the machine: no token, the same rules as the API.

Passwords are read from the terminal or the standard input, never from arguments, which other users of the machine see.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from accident_reco.cli.command import AsJson, command, load_settings, open_warehouse, operator
from accident_reco.cli.output import Table, note, print_json, print_line, show
from accident_reco.launch.processes import LaunchError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from serving.auth.account_changes import AccountAdmin

    M = TypeVar("M", bound=BaseModel)

commands = typer.Typer()
users = typer.Typer(no_args_is_help=True, help="Accounts of people: list, add, change, remove.")
keys = typer.Typer(no_args_is_help=True, help="API keys of programs: list, create, revoke.")
commands.add_typer(users, name="users", rich_help_panel="Access")
commands.add_typer(keys, name="keys", rich_help_panel="Access")

AccountName = Annotated[str, typer.Argument(metavar="NAME", help="Account name.")]
PasswordFromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the first line of the standard input.")
]


@command(users, "accident-reco users list", "accident-reco users list --json", name="list")
def list_users(as_json: AsJson = False) -> None:
    """List accounts with their role and scopes."""
    with _administration() as admin:
        found = admin.list_accounts()
    rows = [
        (user["name"], user["role"], " ".join(user["scopes"]), "disabled" if user["disabled"] else "active")
        for user in found
    ]
    show(found, as_json, Table("user", ("name", "role", "scopes", "state"), rows))


@command(
    users, "accident-reco users add ada", "pass show ada | accident-reco users add ada --role admin --password-stdin"
)
def add(
    name: AccountName,
    role: Annotated[str, typer.Option(help="user or admin; it decides the scopes.")] = "user",
    password_stdin: PasswordFromStdin = False,
) -> None:
    """Create an account; its password is prompted for."""
    from serving.auth.admin import NewUser

    body = _valid(NewUser, name=name, role=role, password=_read_password(password_stdin))
    with _administration() as admin:
        admin.create(body.name, body.password, body.role)
    print_line(f"created {name} ({role})")


@command(
    users,
    "accident-reco users set-scopes ada predict feedback monitor",
    "accident-reco users set-scopes ada admin feedback monitor predict train",
    name="set-scopes",
)
def set_scopes(
    name: AccountName,
    scopes: Annotated[list[str], typer.Argument(help="All scopes that the account shall have.")],
) -> None:
    """Set the scopes of an account: those of one of the roles. The account's sessions end where it loses some."""
    from serving.auth.account_changes import role_with_scopes

    try:
        role = role_with_scopes(frozenset(scopes))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="SCOPES") from None
    with _administration() as admin:
        admin.change(name, role=role)
    print_line(f"{name} has the role {role}: {' '.join(sorted(scopes))}")


@command(users, "accident-reco users reset-password ada", name="reset-password")
def reset_password(name: AccountName, password_stdin: PasswordFromStdin = False) -> None:
    """Set a new password, which is prompted for; the account's sessions end."""
    from serving.auth.admin import UserChanges

    body = _valid(UserChanges, password=_read_password(password_stdin))
    assert body.password is not None
    with _administration() as admin:
        admin.change(name, password=body.password)
    print_line(f"changed the password of {name}")


@command(users, "accident-reco users remove ada", "accident-reco users remove ada --yes")
def remove(name: AccountName, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete an account; its sessions end. Logged predictions stay."""
    if not yes:
        typer.confirm(f"Delete the account {name}?", abort=True, err=True)
    with _administration() as admin:
        admin.delete(name)
    print_line(f"deleted {name}")


@command(keys, "accident-reco keys list", name="list")
def list_keys(as_json: AsJson = False) -> None:
    """List API keys, newest first; the keys themselves are not stored."""
    with _administration() as admin:
        found = admin.list_keys()
    rows = [
        (key["id"], key["name"], " ".join(key["scopes"]), key["created_by"], _key_state(key), key["expires_at"])
        for key in found
    ]
    columns = ("id", "name", "scopes", "created by", "state", "expires (UTC)")
    show(found, as_json, Table("key", columns, rows))


@command(
    keys,
    "accident-reco keys create nightly-job --scope predict --scope feedback --days 90",
    "KEY=$(accident-reco keys create nightly-job --scope predict)",
)
def create(
    name: Annotated[str, typer.Argument(help="Purpose of the key.")],
    scope: Annotated[list[str], typer.Option(help="A scope of the key; repeat it for several.")],
    days: Annotated[int | None, typer.Option(help="Days until it expires; by default it does not.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create an API key and print it; it is shown this once."""
    from serving.auth.admin import NewApiKey

    body = _valid(NewApiKey, name=name, scopes=scope, expires_in_days=days)
    with _administration() as admin:
        row = admin.create_key(body.name, body.scopes, body.expires_in_days)
    if as_json:
        print_json(row)
    else:
        note(f"key {row['id']} ({' '.join(row['scopes'])}); it is shown this once:")
        print_line(row["key"])


@command(keys, "accident-reco keys revoke 0123456789abcdef")
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="Id from `accident-reco keys list`.")]) -> None:
    """Revoke an API key; running services reject it within ten seconds."""
    with _administration() as admin:
        admin.revoke_key(key_id)
    print_line(f"revoked {key_id}")


@contextmanager
def _administration() -> Iterator[AccountAdmin]:
    """The accounts of the home.

    Raises:
        LaunchError: what was requested is against a rule of accounts.
    """
    from serving.auth.account_changes import AccountAdmin, AccountError

    warehouse = open_warehouse(load_settings())
    try:
        yield AccountAdmin(warehouse, operator())
    except AccountError as error:
        raise LaunchError(str(error)) from None
    finally:
        warehouse.close()


def _valid(kind: type[M], **values: Any) -> M:
    """The body that the API would take.

    Raises:
        typer.BadParameter: a value is against its rule; a password is not repeated in the message.
    """
    from pydantic import ValidationError

    try:
        return kind(**values)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False)]
        raise typer.BadParameter("; ".join(problems)) from None


def _read_password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal to prompt on; use --password-stdin", param_hint="password")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _key_state(key: dict[str, Any]) -> str:
    if key["revoked_at"] is not None:
        return "revoked"
    return "expired" if key["expires_at"] and key["expires_at"] <= datetime.now(UTC) else "active"
