alter table refresh_tokens
    drop column /*M! if exists */ user_agent,
    drop column /*M! if exists */ ip,
    drop column /*M! if exists */ last_used_at;
