-- transactional: false
-- One row an account.
create table if not exists users (
    -- UUIDv7, made by the service, so that an insert can be repeated safely.
    id char(36) character set ascii collate ascii_bin not null,
    -- The name as its owner wrote it (RFC 8265 UsernameCasePreserved): what /verify answers.
    username varchar(64) not null,
    -- The name as it is compared (RFC 8265 UsernameCaseMapped). Equality is the service's decision, so the
    -- collation is binary: others take a for á and one emoji for another.
    username_key varchar(64) not null,
    -- bcrypt today; room for longer schemes.
    password_hash varchar(255) character set ascii collate ascii_bin not null,
    created_at datetime(6) not null,
    primary key (id),
    unique key users_username_key (username_key)
) engine = InnoDB default character set = utf8mb4 collate = utf8mb4_bin;
