"""What of the environment no log line may hold."""

from __future__ import annotations

from agui_app.telemetry.logs import secrets_of


def test_values_of_secret_variables_are_secrets_and_names_of_secrets_are_not():
    env = {
        "DB_PASSWORD": "hunter2-and-more",
        "SHOP_SECRET": "s3cr3t-value",
        "DB_PASSWORD_SECRET": "projects/demo/secrets/concierge-db/versions/latest",
        "OTHER_SECRET": "projects/demo/secrets/concierge-db",
        "ODD_SECRET": "projects/demo/secrets/concierge-db but more",
        "DATABASE_URL": "postgresql://app:p%40ssword@db/app",
        "MODE": "plain-value",
    }
    assert set(secrets_of(env)) == {
        "hunter2-and-more",
        "s3cr3t-value",
        "projects/demo/secrets/concierge-db but more",
        "p@ssword",
    }
