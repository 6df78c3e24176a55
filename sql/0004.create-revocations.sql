-- depends: 0003.describe-sessions
-- transactional: false
-- One row a session that was ended: its access tokens are genuine still, until they expire by themselves.
create table if not exists revocations (
    -- In the order of the ends, nearly: a process reads what is past the last one it has seen, and a little before.
    id bigint unsigned not null auto_increment,
    session_id char(36) character set ascii collate ascii_bin not null,
    -- By it a process that starts knows which rows may still have company that is committed late.
    created_at datetime(6) not null,
    -- When the last access token of the session has expired, and the row says nothing any more.
    expires_at datetime(6) not null,
    primary key (id),
    -- To purge.
    key revocations_expires_at (expires_at)
) engine = InnoDB default character set = utf8mb4 collate = utf8mb4_bin;
