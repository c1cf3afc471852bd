-- The streams hold what they should. KEYS: prefix. ARGV: token.
local bus = KEYS[1] .. ':bus'
if redis.call('HGET', bus, 'token') ~= ARGV[1] then return 'LOST' end
redis.call('HSET', bus, 'ready', '1')
redis.call('PUBLISH', KEYS[1] .. ':wake', '')
return 'DONE'
