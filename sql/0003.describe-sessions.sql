-- depends: 0002.create-refresh-tokens
-- transactional: false
-- What shows a user which session is which. Nothing decides by it, and rows of older releases have none.
-- What stands in /*M! */ is for MariaDB, which can repeat the statement; to MySQL, which can't, it is a comment.
alter table refresh_tokens
    -- As the client named itself and where it came from, cut to the column; true or not.
    add column /*M! if not exists */ user_agent varchar(255),
    add column /*M! if not exists */ ip varchar(45) character set ascii collate ascii_bin,
    -- When it was last used; to the hour where the client ignores rotation. Null: as rotated_at.
    add column /*M! if not exists */ last_used_at datetime(6);
