-- migrate:up

-- Since when somebody counts as one of two persons in live mode: whoever has one Admin's session could make another
-- Admin, or take over one who is there, and be both. So it begins anew with whatever another person can do for that:
-- an account, a role, a way in, an end of being disabled. By the database's clock, and nobody writes it.
alter table people add column standing_since timestamptz;
update people p set standing_since = greatest(
    p.created_at, (select max(l.made_at) from one_time_links l where l.person_id = p.person_id)
);
alter table people alter column standing_since set not null;

create function keep_standing() returns trigger language plpgsql set search_path from current as $$
begin
    if tg_op = 'INSERT' then
        new.standing_since := clock_timestamp();
    elsif new.role <> old.role
        or (old.password_hash is null and new.password_hash is not null)
        or (old.disabled_at is not null and new.disabled_at is null)
    then
        new.standing_since := clock_timestamp();
    else
        new.standing_since := old.standing_since;
    end if;
    return new;
end
$$;
create trigger people_standing before insert or update on people
    for each row execute function keep_standing();

-- migrate:down

drop trigger people_standing on people;
drop function keep_standing;
alter table people drop column standing_since;
