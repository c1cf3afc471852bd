-- One more group, whose events are all in the streams. KEYS: prefix. ARGV: token, group, generation, its 16 positions.
if redis.call('HGET', bus, 'token') ~= ARGV[1] then return 'LOST' end
for partition = 0, 15 do
    if tonumber(ARGV[4 + partition]) < tonumber(redis.call('HGET', bus, 'floor')) then return 'REBUILD' end
end
for partition = 0, 15 do
    local stream, position = prefix .. ':events:' .. partition, ARGV[4 + partition]
    redis.call('XGROUP', 'CREATE', stream, ARGV[2], position .. '-0', 'MKSTREAM')
    redis.call('HSET', prefix .. ':acknowledged', ARGV[2] .. ':' .. partition, position)
end
redis.call('HSET', prefix .. ':generations', ARGV[2], ARGV[3])
return 'DONE'
