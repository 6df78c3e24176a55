drop table if exists revocations;
