-- name: ask
insert into closing_requests (signal_id, document, ticker, strategy, asked_at, asked_by, person_id, reason)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (signal_id) do nothing
returning signal_id

-- name: read
select document from closing_requests where signal_id = $1

-- name: list
select signal_id, document, ticker, strategy, asked_at, asked_by, person_id, reason
from closing_requests order by asked_at desc, signal_id limit $1

-- name: held
select ticker, strategy, quantity from positions
where quantity <> 0 and ($1::text is null or ticker = $1)
order by ticker, strategy
