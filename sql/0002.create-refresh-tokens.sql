-- depends: 0001.create-users
-- transactional: false
-- One row a login. No column can be turned into a token: a stolen dump logs nobody in.
create table if not exists refresh_tokens (
    -- The session id, `sid` in both tokens; UUIDv7.
    id char(36) character set ascii collate ascii_bin not null,
    user_id char(36) character set ascii collate ascii_bin not null,
    -- How often the refresh token was rotated; a token carries the generation it belongs to.
    generation int unsigned not null,
    -- When this generation was issued: with it, the very same refresh token can be signed again.
    rotated_at datetime(6) not null,
    -- Renewed by each rotation, never past SESSION_MAX_AGE after created_at.
    expires_at datetime(6) not null,
    created_at datetime(6) not null,
    primary key (id),
    -- To end all sessions of a user, also by the cascade below.
    key refresh_tokens_user_id (user_id),
    -- To purge.
    key refresh_tokens_expires_at (expires_at),
    constraint refresh_tokens_user foreign key (user_id) references users (id) on delete cascade
) engine = InnoDB default character set = utf8mb4 collate = utf8mb4_bin;
