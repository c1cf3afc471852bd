-- Begin the streams anew from what the groups have acknowledged; nobody is given anything until `open`.
-- KEYS: prefix. ARGV: token, position published before, floor, first fence, then for each group: name, generation and its
-- 16 positions.
if redis.call('HGET', bus, 'token') ~= ARGV[1] then return 'LOST' end
for _, group in ipairs(redis.call('HKEYS', prefix .. ':generations')) do
    for partition = 0, 15 do
        redis.call('DEL', prefix .. ':lease:' .. group .. ':' .. partition,
            prefix .. ':pause:' .. group .. ':' .. partition)
    end
end
for partition = 0, 15 do redis.call('UNLINK', prefix .. ':events:' .. partition) end
redis.call('UNLINK', prefix .. ':acknowledged', prefix .. ':generations', prefix .. ':errors', prefix .. ':dead',
    prefix .. ':done', prefix .. ':letters')
-- Rows that were restored count lives that we have had already.
local fence = math.max(tonumber(ARGV[4]), tonumber(redis.call('HGET', bus, 'fence') or '0'))
redis.call('HSET', bus, 'ready', '0', 'published', ARGV[2], 'floor', ARGV[3], 'fence', string.format('%d', fence))
for at = 5, #ARGV, 18 do
    redis.call('HSET', prefix .. ':generations', ARGV[at], ARGV[at + 1])
    for partition = 0, 15 do
        local position = ARGV[at + 2 + partition]
        -- Once more: it may be that we did not know of the group.
        redis.call('DEL', prefix .. ':lease:' .. ARGV[at] .. ':' .. partition,
            prefix .. ':pause:' .. ARGV[at] .. ':' .. partition)
        redis.call('XGROUP', 'CREATE', prefix .. ':events:' .. partition, ARGV[at], position .. '-0', 'MKSTREAM')
        redis.call('HSET', prefix .. ':acknowledged', ARGV[at] .. ':' .. partition, position)
    end
end
return 'DONE'
