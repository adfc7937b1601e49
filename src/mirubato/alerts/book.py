"""All rules: those of the API, which are rows of state.db, those of files, and the templates."""

import glob
import json
import logging
import secrets
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirubato.alerts.api_rules import masked, rule_from
from mirubato.alerts.checking import cycles, enabled, without
from mirubato.alerts.rule_files import RuleFile, parse_rules
from mirubato.alerts.rules import FROM_API, Group, RecordingRule, Rule
from mirubato.alerts.templates import TEMPLATES
from mirubato.alerts.yaml_nodes import Problem
from mirubato.database.state import StateStore
from mirubato.errors import BadField, Conflict, NotFound
from mirubato.limits import API_RULES_MAX, RULE_FILE_BYTES_MAX
from mirubato.promql.literals import duration_text

_log = logging.getLogger(__name__)

_Signature = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """A rule of the API: what it was made of, and what it means."""

    body: Mapping[str, Any]
    rule: Rule
    created_ms: int = 0
    updated_ms: int = 0


class RuleBook:
    """`alerts.seams.RuleSource`, and what changes it. Its methods may wait for the disk; `groups` never does."""

    def __init__(self, state: StateStore, patterns: Sequence[str]) -> None:
        """`patterns` are those of MIRUBATO_RULE_FILES."""
        self._state, self._patterns = state, patterns
        # Held while anything changes, on disk and in memory; who only reads gets what was made last, as a whole.
        self._turn = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._files: dict[str, RuleFile] = {}
        self._signatures: dict[str, _Signature] = {}
        self._problems: Sequence[Problem] = ()
        self._groups: Sequence[Group] = ()
        self._every: Sequence[Group] = ()
        self._by_id: Mapping[str, Rule | RecordingRule] = {}
        self.revision = 0
        self.refresh()
        self.load()

    def load(self) -> None:
        """Take up what state.db holds: again where something else has written it (`database` restores a mirror)."""
        with self._turn:
            loaded = (_loaded(row) for row in self._state.read(_all_rows))
            self._entries = {entry.rule.id: entry for entry in loaded if entry is not None}
            self._renew()

    # --- what there is ------------------------------------------------------------------------------------------------

    def groups(self) -> Sequence[Group]:
        """All groups with their enabled rules."""
        return self._groups

    def every_group(self) -> Sequence[Group]:
        """All groups, with the rules that are disabled too."""
        return self._every

    def entries(self) -> Sequence[Entry]:
        """The rules of the API, oldest first."""
        return sorted(self._entries.values(), key=lambda entry: (entry.created_ms, entry.rule.id))

    def templates(self) -> Sequence[Entry]:
        """Those that nobody has made a rule of yet."""
        return [_template(id_) for id_ in TEMPLATES if id_ not in self._entries]

    def entry(self, rule_id: str) -> Entry:
        """A rule of the API or a template; NotFound."""
        if rule_id in self._entries:
            return self._entries[rule_id]
        if rule_id in TEMPLATES:
            return _template(rule_id)
        raise NotFound(f"there is no rule {rule_id[:100]!r}")

    def rule(self, rule_id: str) -> Rule | RecordingRule:
        """Any rule, of files too; NotFound."""
        found = self._by_id.get(rule_id)
        return found if found is not None else self.entry(rule_id).rule

    def problems(self) -> Sequence[Problem]:
        """What is wrong in rule files: those rules do not run, all others do."""
        return self._problems

    # --- changes ------------------------------------------------------------------------------------------------------

    def add(self, body: Mapping[str, Any], now_ms: int) -> Entry:
        """A new rule of the API; BadField for one that cannot be."""
        if len(self._entries) >= API_RULES_MAX:
            raise Conflict(f"there are {API_RULES_MAX} rules already")
        return self._put(secrets.token_hex(8), body, now_ms, now_ms)

    def replace(self, rule_id: str, body: Mapping[str, Any], now_ms: int) -> Entry:
        """Another content for a rule of the API, or a rule made of a template; NotFound, BadField, Conflict."""
        with self._turn:
            before = self.changeable(rule_id)
            return self._put(rule_id, _unmasked(body, before.rule), before.created_ms or now_ms, now_ms)

    def change(self, rule_id: str, fields: Mapping[str, Any], now_ms: int) -> Entry:
        """Other values for some fields, None for none; errors as `replace`."""
        with self._turn:
            whole = {**self.changeable(rule_id).body, **_unmasked(fields, self.changeable(rule_id).rule)}
            body = {field: value for field, value in whole.items() if value is not None}
            return self.replace(rule_id, body, now_ms)

    def changeable(self, rule_id: str) -> Entry:
        """A rule of the API or a template; NotFound, or Conflict for one of a file."""
        self._check_changeable(rule_id)
        return self.entry(rule_id)

    def remove(self, rule_id: str) -> None:
        """Delete a rule of the API; a template goes back to what it was. NotFound, Conflict."""
        with self._turn:
            self._check_changeable(rule_id)
            if rule_id not in self._entries:
                raise NotFound(f"there is no rule {rule_id[:100]!r}")
            self._state.write(lambda connection: connection.execute("DELETE FROM rule WHERE id = ?", (rule_id,)))
            self._entries = {id_: entry for id_, entry in self._entries.items() if id_ != rule_id}
            self._renew()

    def _check_changeable(self, rule_id: str) -> None:
        found = self._by_id.get(rule_id)
        if found is not None and found.source != FROM_API:
            raise Conflict(f"{found.name} stands in {found.source.removeprefix('file:')}: change it there")

    def _put(self, rule_id: str, body: Mapping[str, Any], created_ms: int, now_ms: int) -> Entry:
        entry = Entry(dict(body), rule_from(body, rule_id), created_ms, now_ms)
        row = (rule_id, json.dumps(entry.body, ensure_ascii=False), created_ms, now_ms)
        with self._turn:
            self._state.write(lambda connection: connection.execute(_UPSERT, row))
            self._entries = {**self._entries, rule_id: entry}
            self._renew()
        return entry

    # --- files --------------------------------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Read the rule files that are new or have changed; whether there were any. Unreadable ones are problems."""
        found = _signatures(self._patterns)
        if found == self._signatures:
            return False
        with self._turn:
            files = {}
            for name, signature in found.items():
                known = self._files.get(name)
                same = known is not None and self._signatures.get(name) == signature
                files[name] = known if known is not None and same else _read(name, known)
            self._files, self._signatures = files, found
        self._renew()
        for problem in self._problems:
            _log.warning("%s", problem)
        return True

    def _renew(self) -> None:
        """What `groups` answers from now on."""
        with self._turn:
            of_files = [group for _, file in sorted(self._files.items()) for group in file.groups]
            cyclic = cycles(of_files)
            self._problems = [problem for _, file in sorted(self._files.items()) for problem in file.problems]
            self._problems += [
                Problem(rule.source.removeprefix("file:"), rule.line, 1, cyclic[rule.id])
                for group in of_files
                for rule in group.rules
                if rule.id in cyclic
            ]
            self._every = [*without(of_files, set(cyclic)), *_api_groups(self.entries())]
            self._by_id = {rule.id: rule for group in self._every for rule in group.rules}
            off = {rule.id for rule in self._by_id.values() if not enabled(rule)}
            self._groups = [group for group in without(self._every, off) if group.rules]
            self.revision += 1


_UPSERT = """
    INSERT INTO rule (id, content, created_ms, updated_ms) VALUES (?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET content = excluded.content, updated_ms = excluded.updated_ms
"""


def _all_rows(connection: sqlite3.Connection) -> list[sqlite3.Row]:
    return connection.execute("SELECT id, content, created_ms, updated_ms FROM rule").fetchall()


def _loaded(row: sqlite3.Row) -> Entry | None:
    """A row that this version no longer takes stays where it is and does not run."""
    try:
        body = json.loads(row["content"])
        return Entry(body, rule_from(body, row["id"]), row["created_ms"], row["updated_ms"])
    except (BadField, ValueError) as error:
        _log.error("rule %s does not run: %s", row["id"], error)
        return None


def _unmasked(body: Mapping[str, Any], before: Rule) -> Mapping[str, Any]:
    """Channels that were shown masked come back masked, and stay what they were."""
    channels = body.get("notification_channels")
    if not isinstance(channels, list):
        return body
    kept = {masked(channel): channel for channel in before.channels}
    return {**body, "notification_channels": [kept.get(one, one) if isinstance(one, str) else one for one in channels]}


def _template(rule_id: str) -> Entry:
    body = TEMPLATES[rule_id]
    return Entry(body, rule_from(body, rule_id, "template"))


def _api_groups(entries: Sequence[Entry]) -> list[Group]:
    """Rules of one group and interval together: a group has one interval."""
    groups: dict[tuple[str, int], list[Rule | RecordingRule]] = {}
    for entry in entries:
        groups.setdefault((entry.rule.group, entry.rule.interval_ms), []).append(entry.rule)
    return [
        Group(f"{name} ({duration_text(interval)})" if interval else name, FROM_API, rules, interval)
        for (name, interval), rules in groups.items()
    ]


def _signatures(patterns: Sequence[str]) -> dict[str, _Signature]:
    """The files that there are, and what changes when they do."""
    found = {}
    for pattern in patterns:
        for name in glob.glob(pattern, recursive=True):  # noqa: PTH207  (patterns are absolute as often as not)
            try:
                status = Path(name).stat()
            except OSError:
                continue
            if Path(name).is_file():
                found[name] = (status.st_mtime_ns, status.st_size)
    return dict(sorted(found.items()))


def _read(name: str, before: RuleFile | None) -> RuleFile:
    """A file; one that is no YAML, in the middle of being written for instance, stays what it was."""
    try:
        if Path(name).stat().st_size > RULE_FILE_BYTES_MAX:
            raise OSError(f"larger than {RULE_FILE_BYTES_MAX} bytes")
        read = parse_rules(Path(name).read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        read = RuleFile([], [Problem(name, 1, 1, str(error))], readable=False)
    if read.readable or before is None:
        return read
    return RuleFile(before.groups, read.problems, readable=False)
