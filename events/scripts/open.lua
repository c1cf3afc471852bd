-- The streams hold what they should. KEYS: prefix. ARGV: token.
local bus = KEYS[1] .. ':bus'
if redis.call('HGET', bus, 'token') ~= ARGV[1] then return 'LOST' end
-- By this server, as it runs now: one that was started again, or has taken over, may have lost what it was told last.
redis.call('HSET', bus, 'ready', '1', 'run', string.match(redis.call('INFO', 'server'), 'run_id:(%w+)'))
redis.call('PUBLISH', KEYS[1] .. ':wake', '')
return 'DONE'
