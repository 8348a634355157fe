"""`users` and `keys`: the rules of the API, passwords never in arguments, every change in the audit log."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from accident_reco.storage import accounts
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.command_line import Outcome, accident_reco
from serving.auth.passwords import Passwords
from serving.common.api_keys import ApiKeys

PASSWORD = "correct horse battery"


def _add(name: str, *arguments: str, password: str = PASSWORD) -> Outcome:
    return accident_reco("users", "add", name, "--password-stdin", *arguments, stdin=f"{password}\n")


def _accepts(warehouse: Warehouse, name: str, password: str) -> bool:
    user = accounts.user(warehouse, name)
    assert user is not None
    return asyncio.run(Passwords().check(password, user["password_hash"]))[0]


def _audited(warehouse: Warehouse) -> list[tuple[str, str | None, dict[str, Any]]]:
    lines = list(reversed(accounts.audit_lines(warehouse, 100)))
    assert all(line["actor"].endswith(" (command line)") for line in lines)
    return [(line["action"], line["target"], line["detail"]) for line in lines]


def test_life_of_an_account(warehouse: Warehouse) -> None:
    """Added, given other scopes, another password, removed; the password is stored as a hash, and nowhere else."""
    assert _add("ada").out == "created ada (user)\n"
    assert _accepts(warehouse, "ada", PASSWORD)
    assert _add("root", "--role", "admin").exit_code == 0
    assert (
        accident_reco("users", "set-scopes", "ada", "admin", "predict", "train", "monitor", "feedback").exit_code == 0
    )
    listed = accident_reco("users", "list", "--json").document
    assert [(user["name"], user["role"]) for user in listed] == [("ada", "admin"), ("root", "admin")]
    assert all("password_hash" not in user for user in listed)
    assert "user\tada\tadmin\tadmin feedback monitor predict train\tactive\n" in accident_reco("users", "list").out
    changed = accident_reco("users", "reset-password", "ada", "--password-stdin", stdin="another long one\n")
    assert changed.out == "changed the password of ada\n"
    assert _accepts(warehouse, "ada", "another long one")
    assert accident_reco("users", "remove", "ada", stdin="n\n").exit_code == 1
    assert accident_reco("users", "remove", "ada", stdin="y\n").exit_code == 0
    assert accounts.user(warehouse, "ada") is None
    assert _audited(warehouse) == [
        ("user.create", "ada", {"role": "user"}),
        ("user.create", "root", {"role": "admin"}),
        ("user.change", "ada", {"changed": ["role"]}),
        ("user.change", "ada", {"changed": ["password"]}),
        ("user.delete", "ada", {}),
    ]


def test_sessions_end_with_a_new_password_and_with_fewer_scopes(warehouse: Warehouse) -> None:
    """As by `PATCH /users/{name}`."""
    for name in ("ada", "root"):
        _add(name, "--role", "admin")
    for number, change in enumerate(
        (
            ("users", "reset-password", "ada", "--password-stdin"),
            ("users", "set-scopes", "ada", "predict", "feedback", "monitor"),
        )
    ):
        accounts.add_refresh_token(warehouse, f"hash{number}", f"family{number}", "ada", "predict", timedelta(days=1))
        assert accident_reco(*change, stdin="another long one\n").exit_code == 0
        used, _ = accounts.use_refresh_token(warehouse, f"hash{number}", "next", timedelta(days=1))
        assert used == "revoked"


@pytest.mark.parametrize(
    ("name", "password", "arguments", "problem"),
    [
        ("Ada", PASSWORD, (), "name: String should match pattern"),
        ("ada", "short", (), "password: String should have at least 10"),
        ("ada", PASSWORD, ("--role", "king"), "role: Input should be 'user' or 'admin'"),
    ],
)
def test_accounts_follow_the_rules_of_the_api(
    warehouse: Warehouse, name: str, password: str, arguments: tuple[str, ...], problem: str
) -> None:
    """Exit code 2; a rejected password is not repeated."""
    outcome = _add(name, *arguments, password=password)
    assert outcome.exit_code == 2
    assert problem in " ".join(outcome.err.replace("│", " ").split())
    assert password not in outcome.err
    assert accounts.all_users(warehouse) == []


def test_what_the_rules_forbid_changes_nothing(warehouse: Warehouse) -> None:
    """Exit code 1 and one line; no audit entry."""
    _add("root", "--role", "admin")
    lines = len(_audited(warehouse))
    for arguments, problem in (
        (("users", "remove", "root", "--yes"), "root is the last admin; create another one first\n"),
        (("users", "set-scopes", "root", "predict", "feedback", "monitor"), "root is the last admin"),
        (("users", "remove", "ada", "--yes"), "there is no account ada\n"),
        (("keys", "revoke", "0123456789abcdef"), "there is no key 0123456789abcdef"),
    ):
        outcome = accident_reco(*arguments)
        assert outcome.exit_code == 1
        assert outcome.err.startswith(problem)
    assert _add("root").err == "an account root exists\n"
    assert len(_audited(warehouse)) == lines
    unknown = accident_reco("users", "set-scopes", "root", "predict")
    assert unknown.exit_code == 2
    assert "no role has exactly the scopes predict" in unknown.err


def test_a_password_needs_a_terminal_or_the_option(warehouse: Warehouse) -> None:
    """A script that forgets the option does not wait for ever, and no argument takes a password."""
    outcome = accident_reco("users", "add", "ada", stdin=f"{PASSWORD}\n")
    assert outcome.exit_code == 2
    assert "--password-stdin" in outcome.err
    assert accident_reco("users", "add", "ada", "--password", PASSWORD).exit_code == 2
    assert accounts.all_users(warehouse) == []


def test_life_of_a_key(warehouse: Warehouse) -> None:
    """The key alone is on the standard output; services accept it until it is revoked."""
    created = accident_reco("keys", "create", "nightly", "--scope", "predict", "--scope", "feedback", "--days", "2")
    key = created.out.strip()
    assert "shown this once" in created.err
    principal = ApiKeys(warehouse).look_up(key)
    assert principal is not None
    assert principal.scopes == {"predict", "feedback"}
    (listed,) = accident_reco("keys", "list", "--json").document
    assert {"secret_hash", "key"} & set(listed) == set()
    assert (listed["name"], listed["expires_at"] is not None) == ("nightly", True)
    assert "\tactive\t" in accident_reco("keys", "list").out
    assert accident_reco("keys", "revoke", listed["id"]).exit_code == 0
    assert ApiKeys(warehouse).look_up(key) is None
    assert accident_reco("keys", "revoke", listed["id"]).exit_code == 1
    assert "\trevoked\t" in accident_reco("keys", "list").out
    assert _audited(warehouse) == [
        ("key.create", listed["id"], {"scopes": ["feedback", "predict"]}),
        ("key.revoke", listed["id"], {}),
    ]


@pytest.mark.parametrize("arguments", [("--scope", "fly"), ("--scope", "predict", "--days", "0"), ()])
def test_keys_follow_the_rules_of_the_api(warehouse: Warehouse, arguments: tuple[str, ...]) -> None:
    """Unknown scopes, no lifetime, no scope."""
    assert accident_reco("keys", "create", "nightly", *arguments).exit_code == 2
    assert accounts.all_api_keys(warehouse) == []


def test_accounts_need_a_home(home: Any) -> None:
    """One message; no empty warehouse is created."""
    outcome = accident_reco("users", "list")
    assert outcome.exit_code == 1
    assert "has no warehouse yet; fix: accident-reco up" in outcome.err
    assert not home.exists()
