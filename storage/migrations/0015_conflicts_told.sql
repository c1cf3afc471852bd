-- migrate:up

-- The watchers look each second for an identity conflict whose alert is not raised yet.
create index orders_identity_conflict on orders (updated_at) where identity_conflict is not null;

-- migrate:down

drop index orders_identity_conflict;
