-- migrate:up

-- The broker's equity at the close before the session in which a loss was first seen: another session's loss is another.
alter table equity_breaches add column last_equity numeric;

-- migrate:down

alter table equity_breaches drop column last_equity;
