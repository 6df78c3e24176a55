"""The table of users of the service that this one replaces: columns id (its primary key), username and password."""

from typing import Any, NamedTuple

from service.database import Database, Statements


class OriginalUser(NamedTuple):
    """A row as it is, whatever its types; `password` is a hash."""

    id: Any
    username: Any
    password: Any


async def find_page(database: Database, table: str, after: Any, limit: int) -> list[OriginalUser]:
    """The next `limit` rows past an id, from the start when that is None, in the order of their ids.

    A name of a table cannot be an argument, so the database puts it into the statement, and quotes it.
    """
    first = """
        set @page = concat(
            'select id, username, password from `', replace(%s, '`', '``'), '` order by id limit ', %s
        )
    """
    following = """
        set @page = concat(
            'select id, username, password from `', replace(%s, '`', '``'), '` where id > ', quote(%s),
            ' order by id limit ', %s
        )
    """

    async def work(transaction: Statements) -> list[OriginalUser]:
        if after is None:
            await transaction.execute(first, table, limit)
        else:
            await transaction.execute(following, table, after, limit)
        await transaction.execute("prepare page from @page")
        return [OriginalUser(*row) for row in await transaction.fetch_all("execute page")]

    return await database.transact(work)


async def estimate_count(database: Database, table: str) -> int:
    """About how many rows there are."""
    statement = """
        select table_rows
        from information_schema.tables
        where table_schema = database()
          and table_name = %s
    """
    row = await database.fetch_one(statement, table)
    return int(row[0] or 0) if row else 0
