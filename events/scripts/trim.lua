-- Forget what every group has acknowledged, up to a position. KEYS: prefix. ARGV: token, position.
local prefix, position = KEYS[1], tonumber(ARGV[2])
local bus = prefix .. ':bus'
if redis.call('HGET', bus, 'token') ~= ARGV[1] then return 'LOST' end
local groups = redis.call('HKEYS', prefix .. ':generations')
for partition = 0, 15 do
    local stream, upto = prefix .. ':events:' .. partition, position
    local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    for _, group in ipairs(groups) do
        local place = tonumber(redis.call('HGET', prefix .. ':acknowledged', group .. ':' .. partition))
        -- A partition in which nothing comes is behind, and yet done.
        if newest and place < tonumber(string.match(newest[1], '^%d+')) then upto = math.min(upto, place) end
    end
    redis.call('XTRIM', stream, 'MINID', string.format('%d-0', upto + 1))
end
if position > tonumber(redis.call('HGET', bus, 'floor')) then
    redis.call('HSET', bus, 'floor', string.format('%d', position))
end
return 'DONE'
