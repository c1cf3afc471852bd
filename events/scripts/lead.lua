-- Become the one that publishes. KEYS: prefix. ARGV: token, installation.
local owner = redis.call('HGET', bus, 'installation')
if owner and owner ~= ARGV[2] then return {'FOREIGN', owner} end
redis.call('HSET', bus, 'installation', ARGV[2], 'token', ARGV[1])
return {'LEADING'}
