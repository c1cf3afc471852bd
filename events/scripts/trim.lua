-- Forget what every group is done with, up to a position. KEYS: prefix. ARGV: token, position.
local position = tonumber(ARGV[2])
if redis.call('HGET', bus, 'token') ~= ARGV[1] then return 'LOST' end

local function earlier(one, other)
    local first, first_number = string.match(one, '^(%d+)-(%d+)$')
    local second, second_number = string.match(other, '^(%d+)-(%d+)$')
    if first ~= second then return tonumber(first) < tonumber(second) end
    return tonumber(first_number) < tonumber(second_number)
end

-- The first entry that a group holds, or has not read yet: an event, or a letter that was put back.
local function first_needed(stream, group, last_read)
    local held = redis.call('XPENDING', stream, group)[2]
    if held then return held end
    local next_entry = redis.call('XRANGE', stream, '(' .. last_read, '+', 'COUNT', 1)[1]
    return next_entry and next_entry[1]
end

for partition = 0, 15 do
    local stream, keep_from = prefix .. ':events:' .. partition, string.format('%d-0', position + 1)
    for _, group in ipairs(redis.pcall('XINFO', 'GROUPS', stream)) do
        local fields = {}
        for at = 1, #group, 2 do fields[group[at]] = group[at + 1] end
        local needed = first_needed(stream, fields['name'], fields['last-delivered-id'])
        if needed and earlier(needed, keep_from) then keep_from = needed end
    end
    redis.call('XTRIM', stream, 'MINID', keep_from)
end
if position > tonumber(redis.call('HGET', bus, 'floor')) then
    redis.call('HSET', bus, 'floor', string.format('%d', position))
end
return 'DONE'
