"""`mirubato migrate`: bring the relational schema of a place to this version, or print it."""

import argparse
import json

from mirubato.config import Config
from mirubato.database.d1 import D1, Place
from mirubato.database.schema import migrate_on, pending_on, schema_text
from mirubato.database.state import Migration, migrate_file, pending_in
from mirubato.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--env", choices=["local", "staging", "production"], help="state.db of data_dir, or a D1 database"
    )
    what.add_argument("--print", action="store_true", help="print schema.sql, for `wrangler d1 execute --file`")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be applied")
    parser.add_argument("--json", action="store_true", help="answer as JSON")


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Status 0; what goes wrong is raised."""
    if arguments.print:
        print(schema_text(), end="")
        return 0
    if arguments.env == "local":
        applied = (pending_in if arguments.dry_run else migrate_file)(config.data_dir)
    else:
        applied = _on_d1(arguments, config)
    if arguments.json:
        migrations = [{"version": one.version, "name": one.name} for one in applied]
        print(json.dumps({"env": arguments.env, "dry_run": arguments.dry_run, "migrations": migrations}))
    else:
        word = "would apply" if arguments.dry_run else "applied"
        print("\n".join(f"{word} {one.version} {one.name}" for one in applied) or "nothing to apply")
    return 0


def _on_d1(arguments: argparse.Namespace, config: Config) -> list[Migration]:
    name = "d1_database_id_staging" if arguments.env == "staging" else "d1_database_id"
    database = getattr(config, name)
    for setting, value in (
        (name, database),
        ("cloudflare_account_id", config.cloudflare_account_id),
        ("cloudflare_api_token", config.cloudflare_api_token),
    ):
        if not value:
            raise ConfigError(f"--env {arguments.env} needs the setting {setting} (MIRUBATO_{setting.upper()})")
    d1 = D1(Place(config.cloudflare_api_url, config.cloudflare_account_id, database, config.cloudflare_api_token))
    try:
        return pending_on(d1) if arguments.dry_run else migrate_on(d1)
    finally:
        d1.close()
