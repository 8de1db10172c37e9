"""The migration linter: ours pass, and each way of breaking the release before is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from agui_app.migrate.command import alembic_config, main
from agui_app.migrate.lint import lint

ROOT = Path(__file__).resolve().parents[3]
HEAD = "import sqlalchemy as sa\nfrom alembic import op\nrevision = {revision!r}\ndown_revision = {down!r}\n"
BASE = (
    "def upgrade():\n    op.create_table('t', sa.Column('a', sa.Integer, primary_key=True), sa.Column('b', sa.Text))\n"
)


@pytest.fixture
def write(tmp_path):
    """Writes a chain of migrations: bodies by revision id."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").write_text("")

    def write(*bodies: tuple[str, str]):
        down = None
        for revision, body in bodies:
            (tmp_path / "versions" / f"m{revision}.py").write_text(HEAD.format(revision=revision, down=down) + body)
            down = revision
        return [finding["finding"] for finding in lint(alembic_config(tmp_path))]

    return write


def test_our_migrations_are_clean():
    assert list(lint(alembic_config(ROOT / "migrations"))) == []


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("op.drop_table('t')", ["drops"]),
        ("op.drop_column('t', 'b')", ["drops"]),
        ("op.rename_table('t', 'u')", ["renames"]),
        ("op.alter_column('t', 'b', new_column_name='c')", ["renames"]),
        ("op.alter_column('t', 'b', type_=sa.Integer)", ["changes_type"]),
        ("op.alter_column('t', 'b', nullable=False)", ["sets_not_null"]),
        ("op.add_column('t', sa.Column('c', sa.Text, nullable=False))", ["not_null_without_default"]),
        ("op.create_unique_constraint('u', 't', ['b'])", ["adds_constraint"]),
        ("op.create_check_constraint('c', 't', 'a > 1')", ["adds_constraint"]),
        ("op.create_foreign_key('f', 't', 't', ['a'], ['a'])", ["adds_constraint"]),
        ("op.create_index('i', 't', ['b'])", ["blocks_writes"]),
        ("op.create_index('i', 't', ['b'], unique=True)", ["adds_constraint"]),
        ("op.execute('alter table t drop column b')", ["drops"]),
        ("op.execute(sa.text('ALTER TABLE t ALTER COLUMN b TYPE integer'))", ["changes_type"]),
        ("op.execute('ALTER TABLE t RENAME TO u')", ["renames"]),
        ("op.execute('TRUNCATE t')", ["deletes_rows"]),
        ("op.execute('UPDATE schema_floor SET revision = 1')", ["expand_raises_floor"]),
        ("op.add_column('t', sa.Column('c', sa.Text))", []),
        ("op.add_column('t', sa.Column('c', sa.Text, nullable=False, server_default=''))", []),
        ("op.alter_column('t', 'b', nullable=True)", []),
        ("op.create_index('i', 't', ['b'], postgresql_concurrently=True)", []),
        ("op.create_table('u', sa.Column('x', sa.Text, unique=True)); op.create_index('i', 'u', ['x'])", []),
        ("op.execute('INSERT INTO t VALUES (1)')", []),
    ],
)
def test_what_an_expand_step_may_do(write, statement, found):
    assert write(("0001", BASE), ("0002", f"def upgrade():\n    {statement}\n")) == found


def test_a_contract_step_may_drop_and_must_raise_the_floor(write):
    drop = "contract = True\ndef upgrade():\n    op.drop_column('t', 'b')\n"
    assert write(("0001", BASE), ("0002", drop)) == ["contract_without_floor"]
    raised = drop + "    op.execute(\"UPDATE schema_floor SET revision = '0002'\")\n"
    assert write(("0001", BASE), ("0002", raised)) == []


@pytest.mark.parametrize("ids", [("0001", "two"), ("0002", "0001"), ("1", "2")])
def test_ids_sort_like_the_chain(write, ids):
    assert "bad_id" in write((ids[0], BASE), (ids[1], "def upgrade(): pass\n"))


def test_branches_are_found(write, tmp_path):
    write(("0001", BASE), ("0002", "def upgrade(): pass\n"))
    (tmp_path / "versions" / "x.py").write_text(HEAD.format(revision="0003", down="0001") + "def upgrade(): pass\n")
    assert [f["finding"] for f in lint(alembic_config(tmp_path))] == ["not_linear"]


def test_the_command_says_so_and_fails(monkeypatch, tmp_path, write, capsys):
    write(("0001", BASE), ("0002", "def upgrade():\n    op.drop_table('t')\n"))
    monkeypatch.setenv("AGUI_MIGRATIONS", str(tmp_path))
    assert main(["lint"]) == 1
    assert '"message": "drops table t"' in capsys.readouterr().out
    monkeypatch.setenv("AGUI_MIGRATIONS", str(ROOT / "migrations"))
    assert main(["lint"]) == 0
