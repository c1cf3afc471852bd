-- migrate:up

-- One role for each process that reaches this database. They can log in once they have a password; what each
-- may do is in storage/grants.toml, given after every migration. Roles belong to the cluster: they may be there.
do $$
declare
    wanted record;
begin
    -- Twice what one process opens, so that its successor may start beside it; together less than the server
    -- takes, so that none can keep another out.
    for wanted in
        select * from (values
            ('ti_gateway', 30), ('ti_risk', 30), ('ti_execution', 45), ('ti_operations', 30), ('ti_console', 40)
        ) as roles (name, connections)
    loop
        begin
            execute format('create role %I nologin connection limit %s', wanted.name, wanted.connections);
        exception when duplicate_object or unique_violation then
            null;
        end;
    end loop;
end
$$;

-- Who may engage the switch may write its row; only a row in kill_releases, which two roles may write after
-- they have verified a signed grant, lets it be released. The epoch never goes back, so no old release serves,
-- and goes on by one with each change only, so that nobody can use it up.
create function refuse_ungranted_release() returns trigger language plpgsql as $$
begin
    if new.epoch <> old.epoch + (case when new.engaged <> old.engaged then 1 else 0 end) then
        raise exception 'the kill switch''s epoch goes on by one when it is engaged or released, and never back'
            using errcode = 'insufficient_privilege';
    end if;
    if old.engaged and not new.engaged then
        -- An if of its own: who engages may not read the releases.
        if not exists (select from kill_releases where epoch = old.epoch) then
            raise exception 'the kill switch is released by a grant only' using errcode = 'insufficient_privilege';
        end if;
    end if;
    return new;
end
$$;
create trigger kill_switch_release before update on kill_switch
    for each row execute function refuse_ungranted_release();

-- migrate:down

drop trigger kill_switch_release on kill_switch;
drop function refuse_ungranted_release;
-- The roles stay: another database of the cluster may use them. Here they lose every right.
drop owned by ti_gateway, ti_risk, ti_execution, ti_operations, ti_console;
