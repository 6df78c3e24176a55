"""The migrations in `sql/` that this release stands on, and yoyo's table of those applied."""

from service.database import Database

REQUIRED = ("0001.create-users", "0002.create-refresh-tokens", "0003.describe-sessions", "0004.create-revocations")


async def find_missing(database: Database) -> list[str]:
    """The required migrations that were not applied, in their order."""
    statement = """
        select 1
        from information_schema.tables
        where table_schema = database()
          and table_name = '_yoyo_migration'
    """
    if not await database.fetch_one(statement):
        return list(REQUIRED)
    statement = """
        select migration_id
        from _yoyo_migration
    """
    applied = {row[0] for row in await database.fetch_all(statement)}
    return [migration for migration in REQUIRED if migration not in applied]
