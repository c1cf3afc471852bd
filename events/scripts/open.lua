-- The streams hold what they should. KEYS: prefix. ARGV: token.
if redis.call('HGET', bus, 'token') ~= ARGV[1] then return 'LOST' end
redis.call('HSET', bus, 'ready', '1', 'run', run_id())
redis.call('PUBLISH', prefix .. ':wake', '')
return 'DONE'
