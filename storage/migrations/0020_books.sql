-- migrate:up

-- What moved the account's cash, as the broker calls it (FEE, DIV, CSD, …), where it lists it: a deposit is no profit.
alter table journal add column activity_type text;

-- Everything that has ever moved shares or cash: executions and journal entries, said here and nowhere else.
-- Shares are signed; cash is US dollars that came (positive) or went.
create view book_moves as
select executed_at as moved_at, 'EXECUTION' as cause, ticker, strategy,
    case side when 'buy' then quantity else -quantity end as quantity,
    case side when 'buy' then -quantity * price else quantity * price end as cash,
    price, null as activity_type, id
from executions
where not busted
union all
select snapshot_at, cause, ticker, strategy, quantity, cash, price, activity_type, entry_id
from journal;

-- Positions and cash. The table positions is this sum, kept in the transactions that move it.
create view books as
select ticker, strategy, sum(quantity) as quantity, sum(cash) as cash
from book_moves
group by ticker, strategy;

-- A day's result is measured from where its extended session began, by what a share was worth then.
create table trading_days (
    day date primary key, -- New York
    began_at timestamptz not null -- on the market's clock
);
create table day_marks (
    day date not null references trading_days,
    ticker text not null,
    price numeric not null, -- US dollars a share at the close before
    primary key (day, ticker)
);

-- migrate:down

drop table day_marks, trading_days;
drop view books, book_moves;
alter table journal drop column activity_type;
