-- Ask for a group; the relay makes it. KEYS: prefix. ARGV: group, where it is to begin.
local wanted = prefix .. ':wanted'
if redis.call('HEXISTS', prefix .. ':generations', ARGV[1]) == 1 then return 'THERE' end
local refused = redis.call('HGET', prefix .. ':refused', ARGV[1])
if refused then
    redis.call('HDEL', prefix .. ':refused', ARGV[1])
    return refused
end
redis.call('HSET', wanted, ARGV[1], ARGV[2])
return 'WAIT'
