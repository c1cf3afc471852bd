-- migrate:up

-- Tickers that the kill left without a stop, told with the orders' fates.
alter table kill_switch add column unprotected text[] not null default '{}';

-- Who may engage may not say that the sweep is done: an activation resets that by itself, and only who may write
-- those columns (storage/grants.toml) tells what a sweep found. While engaged, the first reason stands and the
-- scope only widens, so that nobody makes an activation look smaller than it was.
create function begin_sweep_anew() returns trigger language plpgsql as $$
begin
    if not new.engaged then
        return new;
    end if;
    if old.engaged and (
        (old.scope = 'all' and new.scope <> 'all')
        or (new.reason, new.triggered_by, new.changed_at)
            is distinct from (old.reason, old.triggered_by, old.changed_at)
    ) then
        raise exception 'an engaged kill switch keeps its first reason and is never narrowed'
            using errcode = 'insufficient_privilege';
    end if;
    if not old.engaged then
        new.sweep := null;
        new.unprotected := '{}';
    end if;
    if not old.engaged or new.request_id is distinct from old.request_id then
        new.swept_at := null;
        new.sweep_confirmed := false;
    end if;
    return new;
end
$$;
create trigger kill_switch_engage before update on kill_switch
    for each row execute function begin_sweep_anew();

-- migrate:down

drop trigger kill_switch_engage on kill_switch;
drop function begin_sweep_anew;
alter table kill_switch drop column unprotected;
