-- What was copied need not be told again. KEYS: prefix. ARGV: token, how many letters are done with, ids of the dead...
local prefix = KEYS[1]
if redis.call('HGET', prefix .. ':bus', 'token') ~= ARGV[1] then return 'LOST' end
redis.call('LTRIM', prefix .. ':done', ARGV[2], -1)
for at = 3, #ARGV do redis.call('XDEL', prefix .. ':dead', ARGV[at]) end
return 'DONE'
