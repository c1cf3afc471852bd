-- What was copied need not be told again. KEYS: prefix. ARGV: token, how many letters are done with, ids of the dead...
if redis.call('HGET', bus, 'token') ~= ARGV[1] then return 'LOST' end
redis.call('LTRIM', prefix .. ':done', ARGV[2], -1)
for at = 3, #ARGV do redis.call('XDEL', prefix .. ':dead', ARGV[at]) end
return 'DONE'
