-- What the relay copies, as of one moment. KEYS: prefix. ARGV: token, most of each.
if redis.call('HGET', bus, 'token') ~= ARGV[1] then return {'LOST'} end
local most = tonumber(ARGV[2])
if not is_filled_by_this_run() then redis.call('HSET', bus, 'ready', '0') end
-- Part of it is gone where the streams' groups are not those that we know of, or one of their places is missing.
local names = redis.call('HKEYS', prefix .. ':generations')
for partition = 0, 15 do
    local there, count = {}, 0
    for _, group in ipairs(redis.pcall('XINFO', 'GROUPS', prefix .. ':events:' .. partition)) do
        there[group[2]], count = true, count + 1
    end
    local whole = count == #names
    for _, name in ipairs(names) do
        whole = whole and there[name] and redis.call('HEXISTS', prefix .. ':acknowledged', name .. ':' .. partition) == 1
    end
    if not whole then redis.call('HSET', bus, 'ready', '0') end
end
return {
    'STATE', redis.call('HGETALL', bus), redis.call('HGETALL', prefix .. ':generations'),
    redis.call('HGETALL', prefix .. ':acknowledged'), redis.call('XRANGE', prefix .. ':dead', '-', '+', 'COUNT', most),
    redis.call('LRANGE', prefix .. ':done', 0, most - 1), redis.call('HGETALL', prefix .. ':wanted'),
}
