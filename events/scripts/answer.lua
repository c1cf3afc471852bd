-- Answer who has asked for a group. KEYS: prefix. ARGV: token, group, why it cannot be ('': it is made).
if redis.call('HGET', bus, 'token') ~= ARGV[1] then return 'LOST' end
redis.call('HDEL', prefix .. ':wanted', ARGV[2])
if ARGV[3] ~= '' then redis.call('HSET', prefix .. ':refused', ARGV[2], ARGV[3]) end
return 'DONE'
