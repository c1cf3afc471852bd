-- Acknowledge the first entries of a batch; go on, give the partition back, or say that the next one failed.
-- KEYS: prefix. ARGV: group, partition, fence, lease in ms (0: give it back), pause in ms (0: nothing failed), id of the
-- failed entry ('': none), its tries, tries at most, error, ids of what is done...
local group, partition, fence = ARGV[1], ARGV[2], ARGV[3]
local place = group .. ':' .. partition
local held, stream = prefix .. ':lease:' .. place, prefix .. ':events:' .. partition
if redis.call('GET', held) ~= fence then return 'LOST' end
-- Another server may have an older lease of that name, which somebody else held.
if not is_filled_by_this_run() then return 'LOST' end

for at = 10, #ARGV do
    local id = ARGV[at]
    local was_held = redis.call('XACK', stream, group, id) == 1
    -- A sequence above 0 is what a person had put back: its letter is done with.
    if was_held and string.match(id, '%d+$') ~= '0' then
        local entry = redis.call('XRANGE', stream, id, id)[1]
        for field = 1, entry and #entry[2] or 0, 2 do
            if entry[2][field] == 'letter' then
                redis.call('RPUSH', prefix .. ':done', group .. ':' .. entry[2][field + 1])
            end
        end
    end
end
if #ARGV >= 10 then acknowledge(stream, group, partition, ARGV[#ARGV]) end

local failed = ARGV[6]
if failed ~= '' then
    if tonumber(ARGV[7]) >= tonumber(ARGV[8]) then
        local entry = redis.call('XRANGE', stream, failed, failed)[1]
        if entry then
            bury(stream, group, partition, entry, ARGV[7], ARGV[9])
        else
            acknowledge(stream, group, partition, failed)
        end
    else
        redis.call('HSET', prefix .. ':errors', place, ARGV[9])
        redis.call('SET', prefix .. ':pause:' .. place, '1', 'PX', ARGV[5])
    end
end
if tonumber(ARGV[4]) > 0 then
    redis.call('PEXPIRE', held, ARGV[4])
else
    redis.call('DEL', held)
end
return 'DONE'
