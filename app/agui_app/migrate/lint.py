"""Checks migrations for what would break the release before: the schema moves first, so old code meets the new schema.

An *expand* migration may only add: no drop, no rename, no type change, no column that old code does not fill. A
*contract* migration (`contract = True` in its module) may drop what no running release needs, and must raise the schema
floor, so that older code turns red instead of failing request by request. Operations are recorded by running each
revision against a context that only writes SQL; nothing is parsed out of source code.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import MigrateOperation, Operations, ops
from alembic.script import Script, ScriptDirectory

Finding = dict[str, Any]
_FORBIDDEN_SQL = {
    "drops": re.compile(r"\bDROP\s+(TABLE|COLUMN|SCHEMA|VIEW|TYPE)\b", re.I),
    "renames": re.compile(r"\bRENAME\b", re.I),
    "changes_type": re.compile(r"\bALTER\s+(COLUMN\s+)?\S+\s+(SET\s+DATA\s+)?TYPE\b", re.I),
    "sets_not_null": re.compile(r"\bSET\s+NOT\s+NULL\b", re.I),
    "deletes_rows": re.compile(r"^\s*(DELETE\s+FROM|TRUNCATE)\b", re.I | re.M),
}
_FLOOR_SQL = re.compile(r"\bUPDATE\s+schema_floor\b", re.I)


def lint(config: Config) -> Iterator[Finding]:
    """Findings `{"finding", "revision", "message"}` for all revisions of `config`; nothing when all is well."""
    scripts = ScriptDirectory.from_config(config)
    heads = scripts.get_heads()
    if len(heads) != 1:
        yield _finding("not_linear", ",".join(heads), "there must be exactly one newest migration")
        return
    before = ""
    for script in reversed(list(scripts.walk_revisions())):
        if not re.fullmatch(r"\d{4}", script.revision) or script.revision <= before:
            yield _finding("bad_id", script.revision, "revision ids are four digits and grow along the chain")
        before = script.revision
        yield from _lint_revision(script)


def _lint_revision(script: Script) -> Iterator[Finding]:
    operations = _record(script.module.upgrade)
    contract = bool(getattr(script.module, "contract", False))
    sql = [str(o.sqltext) for o in operations if isinstance(o, ops.ExecuteSQLOp)]
    raises_floor = any(_FLOOR_SQL.search(text) for text in sql)
    if contract:
        if not raises_floor:
            yield _finding("contract_without_floor", script.revision, "a contract migration must raise schema_floor")
        return
    if raises_floor:
        yield _finding("expand_raises_floor", script.revision, "only a contract migration may raise schema_floor")
    created = {o.table_name for o in operations if isinstance(o, ops.CreateTableOp)}
    for operation in operations:
        for kind, what in _breaks(operation, created):
            yield _finding(kind, script.revision, what)


def _record(upgrade: Callable[[], None]) -> list[MigrateOperation]:
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": io.StringIO(), "literal_binds": True}
    )
    asked: list[MigrateOperation] = []
    with Operations.context(context) as operations:
        render = operations.invoke

        def recorded(operation: MigrateOperation) -> Any:
            asked.append(operation)
            return render(operation)

        # `alembic.op` is bound to this very object, so its method is replaced rather than its class
        operations.invoke = recorded  # type: ignore[method-assign]
        upgrade()
    return asked


def _breaks(operation: MigrateOperation, created: set[str]) -> Iterator[tuple[str, str]]:
    """(kind, message) for each way in which the operation would break older code."""
    match operation:
        case ops.DropTableOp():
            yield "drops", f"drops table {operation.table_name}"
        case ops.DropColumnOp():
            yield "drops", f"drops column {operation.table_name}.{operation.column_name}"
        case ops.RenameTableOp():
            yield "renames", f"renames table {operation.table_name}"
        case ops.AlterColumnOp():
            yield from _breaks_column(operation)
        case ops.AddColumnOp() if not operation.column.nullable and operation.column.server_default is None:
            yield (
                "not_null_without_default",
                f"adds {operation.table_name}.{operation.column.name} that old code leaves out",
            )
        case ops.AddConstraintOp() if (table := _constrained(operation)) not in created:
            yield "adds_constraint", f"constrains table {table}, which old code writes to"
        case ops.CreateIndexOp() if operation.table_name not in created:
            if operation.unique:
                yield "adds_constraint", f"makes {operation.table_name} unique, which old code does not know"
            elif not operation.kw.get("postgresql_concurrently"):
                yield "blocks_writes", f"builds an index on {operation.table_name} without postgresql_concurrently"
        case ops.ExecuteSQLOp():
            for kind, pattern in _FORBIDDEN_SQL.items():
                if found := pattern.search(str(operation.sqltext)):
                    yield kind, f"executes {' '.join(found.group().split())}"


def _constrained(operation: ops.AddConstraintOp) -> str:
    name = "source_table" if isinstance(operation, ops.CreateForeignKeyOp) else "table_name"
    return str(getattr(operation, name))


def _breaks_column(operation: ops.AlterColumnOp) -> Iterator[tuple[str, str]]:
    column = f"{operation.table_name}.{operation.column_name}"
    if operation.modify_name is not None:
        yield "renames", f"renames column {column}"
    if operation.modify_type is not None:
        yield "changes_type", f"changes the type of {column}"
    if operation.modify_nullable is False:
        yield "sets_not_null", f"makes {column} NOT NULL"


def _finding(kind: str, revision: str, message: str) -> Finding:
    return {"finding": kind, "revision": revision, "message": message}
