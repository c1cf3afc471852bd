-- migrate:up

-- What risk signed, in the very characters that the signature is over. Execution sends nothing else, whatever any
-- other column says. Approvals of earlier releases have none.
alter table decisions add column approval text;
alter table decisions add column approval_signature text;
alter table decisions add column approval_key_id text;
alter table decisions add check (
    (approval is null) = (approval_signature is null) and (approval is null) = (approval_key_id is null)
);

-- migrate:down

alter table decisions drop column approval;
alter table decisions drop column approval_signature;
alter table decisions drop column approval_key_id;
