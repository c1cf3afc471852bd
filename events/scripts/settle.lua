-- Acknowledge the first entries of a batch; go on, give the partition back, or say that the next one failed.
-- KEYS: prefix. ARGV: group, partition, fence, lease in ms (0: give it back), pause in ms (0: nothing failed), id of the
-- failed entry ('': none), its tries, tries at most, error, ids of what is done...
local prefix, group, partition, fence = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local place = group .. ':' .. partition
local held, stream = prefix .. ':lease:' .. place, prefix .. ':events:' .. partition
if redis.call('GET', held) ~= fence then return 'LOST' end
-- Another server may have an older lease of that name, which somebody else held.
if redis.call('HGET', prefix .. ':bus', 'run') ~= string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') then return 'LOST' end

local function acknowledge(id)
    redis.call('XACK', stream, group, id)
    redis.call('HSET', prefix .. ':acknowledged', place, string.match(id, '^%d+'))
end

for at = 10, #ARGV do
    local id = ARGV[at]
    -- A sequence above 0 is what a person had put back: its letter is done with.
    if string.match(id, '%d+$') ~= '0' and redis.call('XACK', stream, group, id) == 1 then
        local entry = redis.call('XRANGE', stream, id, id)[1]
        for field = 1, entry and #entry[2] or 0, 2 do
            if entry[2][field] == 'letter' then
                redis.call('RPUSH', prefix .. ':done', group .. ':' .. entry[2][field + 1])
            end
        end
    end
    acknowledge(id)
end
if #ARGV >= 10 then redis.call('HDEL', prefix .. ':errors', place) end

local failed = ARGV[6]
if failed ~= '' then
    if tonumber(ARGV[7]) >= tonumber(ARGV[8]) then
        local entry = redis.call('XRANGE', stream, failed, failed)[1]
        if entry then
            redis.call('XADD', prefix .. ':dead', '*', 'group', group, 'partition', partition, 'id', failed,
                'tries', ARGV[7], 'error', ARGV[9], unpack(entry[2]))
        end
        acknowledge(failed)
        redis.call('HDEL', prefix .. ':errors', place)
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
