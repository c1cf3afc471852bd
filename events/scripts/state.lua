-- What the relay copies, as of one moment. KEYS: prefix. ARGV: token, most of each.
local prefix = KEYS[1]
local bus = prefix .. ':bus'
if redis.call('HGET', bus, 'token') ~= ARGV[1] then return {'LOST'} end
local most = tonumber(ARGV[2])
if redis.call('HGET', bus, 'run') ~= string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') then redis.call('HSET', bus, 'ready', '0') end
return {
    'STATE', redis.call('HGETALL', bus), redis.call('HGETALL', prefix .. ':generations'),
    redis.call('HGETALL', prefix .. ':acknowledged'), redis.call('XRANGE', prefix .. ':dead', '-', '+', 'COUNT', most),
    redis.call('LRANGE', prefix .. ':done', 0, most - 1), redis.call('HGETALL', prefix .. ':wanted'),
}
